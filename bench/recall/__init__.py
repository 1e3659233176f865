"""How many regressions of a candidate are found, and how often one is told of that is none.

A real django-oscar with its REST API, its twin, noise on both; the twin gets one regression after
another. Requests go through the collector's own judge, and some through Envoy and a collector.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.recall.judged import Found, Judged, judged, numbers_from
from bench.recall.live import LiveFigures, live
from bench.recall.page import keep
from bench.recall.pair import Pair, pair
from bench.recall.seeded import REGRESSIONS
from bench.recall.seeded.seed import Regression
from bench.recall.traffic import PLACES, Traffic, each_place
from bench.report import Figures, Result

RECALL_MIN = 0.98
FALSE_OF_10_000_MAX = 1.0
_LEARNED = 21  # requests to each place before anything counts
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked: of a healthy candidate, and of each regression; of those every *step*.

    Where not every one is, no place is asked but theirs.
    """

    healthy: int
    each: int
    step: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one regression: the requests it *affected*, and those told of."""

    regression: Regression
    affected: int
    hit: int
    false: int
    found: Found
    naive_false: int
    false_shapes: Sequence[str] = ()

    @property
    def is_found(self) -> bool:
        return self.hit > 0


def run(*, quick: bool, console: Console) -> Result:
    """Learn, then a healthy candidate, then one regression after the other, then through Envoy."""
    sizes = Sizes(100, 10, 9) if quick else Sizes(20_000, 40)
    chosen = list(REGRESSIONS.values())[:: sizes.step]
    wanted = {one.where for one in chosen}
    places = [place for place in PLACES if not quick or place[1] in wanted]
    with tempfile.TemporaryDirectory() as name, pair(Path(name)) as made:
        traffic, numbers = made.traffic(places), numbers_from()
        learned = Path(name) / "learned.sqlite"
        with judged(made, learned) as judge:
            judge.of(each_place(traffic, _LEARNED), numbers)
            healthy = _healthy(judge, traffic, numbers, sizes.healthy, console)
        outcomes = []
        for regression in chosen:
            outcomes.append(_seeded(made, traffic, numbers, regression, sizes.each))
            console.print(_line(outcomes[-1]), style="dim")
        made.seed()
        through = live(made, traffic, console)
    result = _result(healthy, outcomes, through)
    if not quick:
        keep({"ours": result.ours, **result.peers, "regressions": [_row(one) for one in outcomes]})
    return result


def _healthy(
    judge: Judged, traffic: Traffic, numbers: Iterator[int], count: int, console: Console
) -> Found:
    total = Found()
    begun = time.monotonic()
    for start in range(0, count, _BATCH):
        part = judge.of([traffic.any] * min(_BATCH, count - start), numbers)
        total = total + part
        console.print(
            f"{total.compared:,} compared, told of {len(total.different)}, "
            f"{time.monotonic() - begun:.0f} s",
            style="dim",
        )
    return total


def _seeded(
    made: Pair, traffic: Traffic, numbers: Iterator[int], regression: Regression, count: int
) -> Outcome:
    made.seed(regression.name)
    folder = made.folder
    middle = made.restock if regression.kind == "stale data" else None
    with judged(made, folder / "seeded.sqlite", folder / "learned.sqlite") as judge:
        found = judge.of([lambda: traffic.of(regression)] * count, numbers, middle)
    affected = made.affected()
    return Outcome(
        regression,
        len(affected),
        len(found.different & affected),
        len(found.different - affected),
        found,
        len(found.naive - affected),
        [shape for number in found.different - affected for shape in found.told[number]],
    )


def _row(one: Outcome) -> dict[str, object]:
    seed = one.regression
    return {
        "name": seed.name,
        "kind": seed.kind,
        "where": seed.where,
        "held_out": seed.held_out,
        "affected": one.affected,
        "hit": one.hit,
        "false": one.false,
    }


def _line(one: Outcome) -> str:
    word = "found" if one.is_found else "MISSED"
    return f"{word}: {one.regression.name}: {one.hit} of {one.affected}, {one.false} false"


def _result(healthy: Found, outcomes: Sequence[Outcome], through: LiveFigures) -> Result:
    compared = healthy.compared + sum(one.found.compared for one in outcomes)
    unaffected = compared - sum(one.affected for one in outcomes)
    false = len(healthy.different) + sum(one.false for one in outcomes)
    hits = sum(one.hit for one in outcomes)
    recall = sum(one.is_found for one in outcomes) / len(outcomes)
    per_10_000 = false * 10_000 / unaffected
    held_out = [one.is_found for one in outcomes if one.regression.held_out]
    ours: dict[str, float | int | str] = {
        "regressions": len(outcomes),
        "kinds": len({one.regression.kind for one in outcomes}),
        "compared requests": compared,
        "recall, of regressions": round(recall, 4),
        "recall, of those held out": round(sum(held_out) / max(1, len(held_out)), 4),
        "recall, of affected answers": round(
            hits / max(1, sum(one.affected for one in outcomes)), 4
        ),
        "precision, of what is told": round(hits / max(1, hits + false), 4),
        "false alarms, of 10,000 compared": round(per_10_000, 2),
        "undecided, of 10,000 compared": round(healthy.undecided * 1e4 / healthy.compared, 2),
    }
    for kind, found in _by_kind(outcomes).items():
        ours[f"found: {kind}"] = f"{sum(found)} of {len(found)}"
    ours.update(through.ours)
    return Result(
        bench="recall",
        unit="requests to django-oscar and its twin",
        ours=ours,
        peers={
            "rules alone": _contrast("ruled", healthy, outcomes),
            "nothing": _contrast("naive", healthy, outcomes),
        },
        checks={
            f"recall of {RECALL_MIN} or more": recall >= RECALL_MIN,
            f"{FALSE_OF_10_000_MAX:g} false alarm or less of 10,000": per_10_000
            <= FALSE_OF_10_000_MAX,
            "each regression changed some answer": all(one.affected for one in outcomes),
            **through.checks,
        },
        notes=[
            *(_line(one) for one in outcomes if not one.is_found),
            *(f"false alarm: {shape}" for told in healthy.told.values() for shape in told),
            *(
                f"false alarm: {one.regression.name}: {shape}"
                for one in outcomes
                for shape in one.false_shapes
            ),
        ],
    )


def _by_kind(outcomes: Sequence[Outcome]) -> dict[str, list[bool]]:
    kinds: dict[str, list[bool]] = {}
    for one in outcomes:
        kinds.setdefault(one.regression.kind, []).append(one.is_found)
    return dict(sorted(kinds.items()))


def _contrast(word: str, healthy: Found, outcomes: Sequence[Outcome]) -> Figures:
    """The same run, where all that differs is told of, but for what rules say, or for nothing."""
    false = len(getattr(healthy, word))
    return {
        "false alarms, of 10,000 compared": round(false * 10_000 / healthy.compared, 2),
        "precision, of what is told": round(
            sum(one.affected for one in outcomes)
            / max(1, false + sum(len(getattr(one.found, word)) for one in outcomes)),
            4,
        ),
    }
