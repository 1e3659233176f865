"""How many pairs of answers one core compares in a second: 10 KB of JSON, alike and otherwise.

Then what it costs those who ask, with every request copied; see `compare_path`. There is no peer.
Seconds are of the processor, and the fastest round counts: what else runs can only slow it down.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from bench.compare_path import user_path
from bench.report import Result
from moreton.strangler.compare import DEFAULT_RULES, Answer, Rule, Rulebook, compare

_PER_SECOND_MIN = 2_000
_ITEMS = 70
_ROUNDS = 15
_PAIRS = 200
_RULES = Rulebook([*DEFAULT_RULES, Rule.parse("$.items[*].updated_at", "ignore", "is now")])
Item = dict[str, Any]


def run(*, quick: bool, console: Console) -> Result:
    """Compare each case's pair again and again, the cases in turns."""
    pairs = _PAIRS // 10 if quick else _PAIRS
    primary, cases = _answer(_items()), _cases()
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(_ROUNDS):
        console.print(f"round {number + 1} of {_ROUNDS}", style="dim")
        for name, candidate in cases.items():
            found[name].append(_per_second(primary, candidate, pairs))
    ours: dict[str, float | int] = {name: round(max(values)) for name, values in found.items()}
    path = user_path(quick=quick, console=console)
    return Result(
        bench="compare",
        unit=f"comparisons/s of a core, {len(primary.body):,} bytes of JSON",
        ours={**ours, **path.ours},
        checks={
            f"{name}: {_PER_SECOND_MIN:,} a second": value >= _PER_SECOND_MIN
            for name, value in ours.items()
        }
        | path.checks,
    )


def _cases() -> Mapping[str, Answer]:
    def changed(change: Callable[[Item], None], *numbers: int) -> Answer:
        items = _items()
        for number in numbers:
            change(items[number])
        return _answer(items)

    return {
        "the same bytes": _answer(_items()),
        "the same, written otherwise": _answer(_items(), indent=1),
        "one price is wrong": changed(lambda item: item.update(price="1"), 3),
        "five fields are missing": changed(lambda item: item.pop("ok"), *range(0, 50, 10)),
        "every item has another time": changed(
            lambda item: item.update(updated_at="2026-11-27T00:01:00Z"), *range(_ITEMS)
        ),
    }


def _items() -> list[Item]:
    return [
        {
            "id": number,
            "name": f"Product number {number}",
            "price": f"{number}.99",
            "stock": number * 3,
            "tags": ["a", "b"],
            "updated_at": f"2026-11-27T00:00:{number % 60:02}Z",
            "ok": True,
            "rating": 1.5 * number,
        }
        for number in range(_ITEMS)
    ]


def _answer(items: list[Item], indent: int | None = None) -> Answer:
    body = json.dumps({"items": items}, indent=indent).encode()
    return Answer(200, [("content-type", "application/json")], body)


def _per_second(primary: Answer, candidate: Answer, pairs: int) -> float:
    start = time.process_time()
    for _ in range(pairs):
        compare(primary, candidate, _RULES)
    return pairs / (time.process_time() - start)
