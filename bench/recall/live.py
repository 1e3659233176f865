"""The same through Envoy, `moreton up` and its collector: learned, then one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console

from bench.fleet import Fleet, fleet
from bench.recall.pair import Pair
from bench.recall.seeded import REGRESSIONS
from bench.recall.traffic import Traffic, Wanted
from moreton.strangler.compare import Differences

_ROUTE = "shop"
_LEARNED = 24
_EACH = 8
_WAIT_SECONDS_MAX = 60.0
_PLACES = ("/catalogue/x_{}/", "/api/products/{}/price/", "/catalogue/moved_{}/", "/api/products/")
# One of each sort of place: a value, a page, a status, a field, an order.
_SEEDED = (
    "tax is added twice",
    "a row of the table is missing",
    "moved for now, no longer for good",
    "frames are allowed",
    "two books change places",
)


@dataclass(slots=True)
class LiveFigures:
    """What was measured, as `Result` has it."""

    ours: dict[str, float | int | str]
    checks: dict[str, bool]


def live(made: Pair, traffic: Traffic, console: Console) -> LiveFigures:
    """Ask a gateway, and look into the file that its collector keeps."""
    document = {
        "services": {
            "shop": {"addresses": [f"127.0.0.1:{made.primary}"]},
            "new": {"addresses": [f"127.0.0.1:{made.candidate}"]},
        },
        "routes": {_ROUTE: {"path": "/*", "to": "shop"}},
        "compare": {_ROUTE: {"candidate": "new", "share": "100%", "side_effects": "none"}},
    }
    made.seed()
    with fleet(made.folder / "moreton", document) as gateway:
        _until(lambda: _comparison(gateway)["share"] == 1.0)
        wanted = [traffic.at(place) for place in _PLACES * _LEARNED]
        while not _done(gateway):  # Envoy has not heard of the share yet
            _ask(gateway, [traffic.at("/api/countries/")], wait=False)
            time.sleep(0.2)
        _ask(gateway, wanted)
        false = _told(gateway)
        found = {}
        for name in _SEEDED:
            made.seed(name)
            before = _told(gateway)
            one = REGRESSIONS[name]
            more = [traffic.at(one.where, "en") for _ in range(_EACH)]
            _ask(gateway, more)
            found[name] = _told(gateway) > before
            console.print(f"through Envoy: {name}: {found[name]}", style="dim")
        made.seed()
        compared = _comparison(gateway)["counts"]["compared"]
    return LiveFigures(
        {
            "through Envoy: compared": compared,
            "through Envoy: regressions found": f"{sum(found.values())} of {len(found)}",
            "through Envoy: false alarms": false,
        },
        {
            "through Envoy: all regressions were found": all(found.values()),
            "through Envoy: no false alarm": false == 0,
        },
    )


def _ask(gateway: Fleet, wanted: list[Wanted], *, wait: bool = True) -> None:
    """Ask one after the other, and wait until all are compared."""
    before, gets = _done(gateway), [one for one in wanted if one.method == "GET"]
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        for one in gets:
            client.request(one.method, one.target, headers=dict(one.headers))
    if wait:
        _until(lambda: _done(gateway) >= before + len(gets))


def _done(gateway: Fleet) -> int:
    counts = _comparison(gateway)["counts"]
    return int(counts["compared"] + counts["dropped"] + counts["skipped"])


def _told(gateway: Fleet) -> int:
    with Differences(gateway.folder / ".moreton" / "compare" / "differences.sqlite") as kept:
        return sum(group.count for group in kept.groups())


def _comparison(gateway: Fleet) -> Any:
    found: Any = gateway.call("GET", "/v1/comparisons")
    return next(one for one in found if one["route"] == _ROUTE)


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT_SECONDS_MAX
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError("what was waited for did not come")
        time.sleep(0.05)
