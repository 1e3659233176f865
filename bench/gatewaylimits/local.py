"""What limits cost that an Envoy keeps by itself: requests a second with them and without.

One `moreton up` with one Envoy, whose gateways differ in their limits alone: same process, same
core, same service. The Envoy has core 0; wrk and the service have core 1. The gateways take turns
in short runs, each round in another order, and a ratio is of two runs of one round, so that what
the machine does meanwhile is in both.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from bench.fleet import fleet
from bench.gateway import backend
from bench.processes import cpu_seconds, pin
from bench.report import Result, median
from bench.wrk import wrk
from moreton.kernel.ports import free_port

_CONNECTIONS = 32
_LOST_MAX = 0.05
_SECONDS = 1
_PLENTY = {"limit": "1000000/s", "burst": 1_000_000}
_WITHOUT = "without"
_EACH = "one for each client"
_THREE = "three rules"
LIMITS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    _WITHOUT: {},
    _EACH: {"each": {**_PLENTY, "by": "address"}},
    _THREE: {
        "whole": _PLENTY,
        "client": {**_PLENTY, "by": "address"},
        "reads": {**_PLENTY, "by": "header:x-tenant", "match": {"methods": "GET"}},
    },
}


def run(*, quick: bool, console: Console) -> Result:
    """Measure each set of limits beside none."""
    rounds = 2 if quick else 25
    rps: dict[str, list[float]] = {name: [] for name in LIMITS}
    costs: dict[str, list[float]] = {name: [] for name in LIMITS}
    failures = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        ports = {name: free_port() for name in LIMITS}
        made = stack.enter_context(fleet(folder / "fleet", _configuration(ports, upstream)))
        pin(made.envoy_pid(), {0})
        order = list(LIMITS)
        for number in range(rounds):
            console.print(f"cost of local limits: round {number + 1} of {rounds}")
            turn = number % len(order)
            for name in order[turn:] + order[:turn]:
                before = cpu_seconds(ports[name])
                url = f"http://127.0.0.1:{ports[name]}/"
                found = wrk(url, seconds=_SECONDS, connections=_CONNECTIONS, cores="1")
                spent = cpu_seconds(ports[name]) - before
                rps[name].append(found.rps)
                costs[name].append(spent / (found.rps * _SECONDS))
                failures += found.failures
    return _result(rps, costs, failures)


def _configuration(ports: Mapping[str, int], upstream: int) -> dict[str, object]:
    """A gateway for each set of limits."""
    gateways = {f"g{number}": port for number, port in enumerate(ports.values())}
    limits = {
        name: {**rule, "match": {**_match(rule), "gateways": f"g{number}"}}
        for number, rules in enumerate(LIMITS.values())
        for name, rule in rules.items()
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


def _match(rule: Mapping[str, object]) -> Mapping[str, object]:
    found = rule.get("match", {})
    assert isinstance(found, Mapping)
    return found


def _result(
    rps: Mapping[str, list[float]], costs: Mapping[str, list[float]], failures: int
) -> Result:
    ours: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name, runs in rps.items():
        ours[f"{name}, requests/s"] = median(runs)
        ours[f"{name}, us of CPU a request"] = median(costs[name]) * 1e6
        if name != _WITHOUT:
            pairs = zip(runs, rps[_WITHOUT], strict=True)
            ratios[_ratio(name)] = median([one / other for one, other in pairs])
            both = zip(costs[_WITHOUT], costs[name], strict=True)
            ratios[f"{name} / without, requests by second of CPU"] = median(
                [one / other for one, other in both]
            )
    checks = {
        f"{name} costs at most {_LOST_MAX:.0%} of the requests": ratios[_ratio(name)]
        >= 1 - _LOST_MAX
        for name in (_EACH, _THREE)
    }
    checks["no failed request"] = failures == 0
    return Result("gatewaylimits", "requests/s", ours, {}, ratios, checks)


def _ratio(name: str) -> str:
    return f"{name} / without, requests/s"
