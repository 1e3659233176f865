"""What limits cost that an Envoy keeps by itself: requests by second of CPU with and without.

Two `moreton up` with the same gateways, of which one has limits, another set at each gateway, and
the other has none: what is measured is what the first limit costs whoever adds it. It has to be
another Envoy: the values that say whether limits act cost each request of the Envoy that has them
a little, also at gateways without. Both have the places that a gateway has for limits. The Envoys
have core 0; h2load, the service and the control planes have core 1. Envoys that have limits in a
configuration written by hand are measured like them: so much of the cost is Envoy's own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from bench.fleet import fleet, renew_envoys
from bench.gateway import backend
from bench.gatewaylimits.bare import EACH, THREE, bare_envoy
from bench.processes import pin
from bench.report import Result
from bench.starts import Start, Starts, take_pairs, take_starts
from moreton.kernel.ports import free_port

_LOST_MAX = 0.05
_PLENTY = {"limit": "1000000/s", "burst": 1_000_000}
_WITHOUT = "without"
_ONE = "one for all"
_EACH = "one for each client"
_THREE = "three rules"
_BARE = "bare Envoy, without"
_BARE_EACH = "bare Envoy, one for each client"
_BARE_THREE = "bare Envoy, three rules in one filter"
Rule: TypeAlias = Mapping[str, object]
LIMITS: Mapping[str, Mapping[str, Rule]] = {
    _WITHOUT: {},
    _ONE: {"all": _PLENTY},
    _EACH: {"each": {**_PLENTY, "by": "address"}},
    _THREE: {
        "whole": _PLENTY,
        "client": {**_PLENTY, "by": "address"},
        "reads": {**_PLENTY, "by": "header:x-tenant", "match": {"methods": "GET"}},
    },
}

_BY_HAND: Mapping[str, Mapping[str, object]] = {_BARE: {}, _BARE_EACH: EACH, _BARE_THREE: THREE}
_AGAINST = {
    **{name: _WITHOUT for name in LIMITS if name != _WITHOUT},
    **{name: _BARE for name in _BY_HAND if name != _BARE},
}


def run(*, quick: bool, console: Console) -> Result:
    """Measure each set of limits beside none."""
    starts, rounds = (2, 2) if quick else (9, 4)
    free, limited = ({name: free_port() for name in LIMITS} for _ in range(2))
    upstream = free_port()
    none = _configuration(free, upstream, {name: {} for name in LIMITS})
    some = _configuration(limited, upstream, LIMITS)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(backend(folder, upstream))
        fleets = [
            (stack.enter_context(fleet(folder / name, document, cores="1")), its.values())
            for name, document, its in (("none", none, free), ("some", some, limited))
        ]
        ports = {**limited, _WITHOUT: free[_WITHOUT]}

        def take(number: int) -> Start:
            say = partial(console.print, f"cost of local limits, start {number + 1} of {starts}:")
            # The one that is started first is another one each time.
            for pid in renew_envoys(fleets[:: -1 if number % 2 else 1]):
                pin(pid, {0})
            return _pairs(folder, ports, upstream, rounds, say)

        return _result(take_starts(starts, take))


def _pairs(
    folder: Path, ports: Mapping[str, int], upstream: int, rounds: int, say: Callable[[str], object]
) -> Start:
    """The pairs of one start of what is at *ports*, and of Envoys of their own."""
    bare = {name: free_port() for name in _BY_HAND}
    with contextlib.ExitStack() as stack:
        for name, port in bare.items():
            limits = _BY_HAND[name]
            one = bare_envoy(folder, port, limits=limits, upstream=upstream, cores="0")
            stack.enter_context(one)
        return take_pairs({**ports, **bare}, _AGAINST, rounds, say)


def _configuration(
    ports: Mapping[str, int], upstream: int, wanted: Mapping[str, Mapping[str, Rule]]
) -> dict[str, object]:
    """A gateway for each of *ports*, in their order, with the limits *wanted* for its name."""
    gateways = {f"g{number}": port for number, port in enumerate(ports.values())}
    limits = {
        name: {**rule, "match": {**_match(rule), "gateways": f"g{number}"}}
        for number, called in enumerate(ports)
        for name, rule in wanted[called].items()
    }
    return {
        "gateways": {
            name: {"listeners": [{"address": f"127.0.0.1:{port}"}]}
            for name, port in gateways.items()
        },
        "services": {"app": {"addresses": [f"127.0.0.1:{upstream}"]}},
        "routes": {"everything": {"path": "/*", "to": "app"}},
        "limits": limits,
    }


def _match(rule: Rule) -> Mapping[str, object]:
    found = rule.get("match", {})
    assert isinstance(found, Mapping)
    return found


def _result(starts: Starts) -> Result:
    ours: dict[str, float | int | str] = {}
    theirs: dict[str, float | int | str] = {}
    ratios: dict[str, float] = {}
    for name in starts.names:
        (ours if name in LIMITS else theirs).update(starts.figures(name))
    limited = [name for name in LIMITS if name != _WITHOUT]
    for name in limited:
        ratios[f"{name} / without"] = 1 - starts.lost(name).share
    checks = {
        f"{name} costs at most {_LOST_MAX:.0%} of the requests": starts.lost(name).share
        <= _LOST_MAX
        for name in limited
    }
    checks["no failed request"] = starts.failures == 0
    notes = [note for name in limited for note in starts.undecided(name, _LOST_MAX)]
    return Result("gatewaylimits", "us of CPU", ours, {"envoy": theirs}, ratios, checks, notes)
