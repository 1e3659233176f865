"""What limits cost that an Envoy keeps by itself: requests a second with them and without.

One `moreton up` with one Envoy, whose gateways differ in their limits alone: same process, same
core, same service. The Envoy has core 0; wrk, the service and the control plane have core 1. The
gateways take turns in short runs, each round in another order, and a ratio is of two runs of one
round, so that what the machine does meanwhile is in both. An Envoy that has the three rules in a
configuration written by hand takes turns with them: so much of the cost is Envoy's own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from bench.fleet import fleet
from bench.gateway import backend
from bench.gatewaylimits.bare import bare_envoy
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
_BARE = "bare Envoy, without"
_BARE_THREE = "bare Envoy, three rules in one filter"
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
    order = [*LIMITS, _BARE, _BARE_THREE]
    rps: dict[str, list[float]] = {name: [] for name in order}
    costs: dict[str, list[float]] = {name: [] for name in order}
    failures = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        ports = {name: free_port() for name in order}
        document = _configuration({name: ports[name] for name in LIMITS}, upstream)
        made = stack.enter_context(fleet(folder / "fleet", document, cores="1"))
        pin(made.envoy_pid(), {0})
        without, limited = ports[_BARE], ports[_BARE_THREE]
        bare = bare_envoy(folder, without=without, limited=limited, upstream=upstream, cores="0")
        stack.enter_context(bare)
        for number in range(rounds):
            console.print(f"cost of local limits: round {number + 1} of {rounds}")
            # The one written by hand takes one turn when quick.
            taking = list(LIMITS) if quick and number else order
            turn = number % len(taking)
            for name in taking[turn:] + taking[:turn]:
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
    theirs: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name, runs in rps.items():
        is_ours = name in LIMITS
        into, base = (ours, _WITHOUT) if is_ours else (theirs, _BARE)
        into[f"{name}, requests/s"] = median(runs)
        into[f"{name}, us of CPU a request"] = median(costs[name]) * 1e6
        if name == base:
            continue
        kept = {
            "requests/s": _of_pairs(runs, rps[base]),
            "requests by second of CPU": _of_pairs(costs[base], costs[name]),
        }
        for unit, ratio in kept.items():
            into[f"{name}, lost %, by {unit}"] = (1 - ratio) * 100
            if is_ours:
                ratios[f"{name} / without, {unit}"] = ratio
    checks = {
        f"{name} costs at most {_LOST_MAX:.0%} of the requests": ratios[
            f"{name} / without, requests/s"
        ]
        >= 1 - _LOST_MAX
        for name in (_EACH, _THREE)
    }
    checks["no failed request"] = failures == 0
    return Result("gatewaylimits", "requests/s", ours, {"envoy": theirs}, ratios, checks)


def _of_pairs(runs: list[float], others: list[float]) -> float:
    """What *runs* are of the *others*, each of the other of its round."""
    # A proxy that got no processor at all in its turn says nothing.
    return median([one / other for one, other in zip(runs, others, strict=True) if one and other])
