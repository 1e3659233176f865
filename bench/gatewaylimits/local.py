"""What limits cost that an Envoy keeps by itself: requests a second with them and without.

One `moreton up` with one Envoy, whose gateways differ in their limits alone: same process, same
core, same service. The Envoy has core 0; h2load, the service and the control plane have core 1. An
Envoy that has the three rules in a configuration written by hand takes turns with them: so much of
the cost is Envoy's own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.fleet import fleet
from bench.gateway import backend
from bench.gatewaylimits.bare import bare_envoy
from bench.processes import pin
from bench.report import Result
from bench.turns import Turns, take_turns, under_load
from moreton.kernel.ports import free_port

_LOST_MAX = 0.05
_PLENTY = {"limit": "1000000/s", "burst": 1_000_000}
_WITHOUT = "without"
_ONE = "one for all"
_EACH = "one for each client"
_THREE = "three rules"
_BARE = "bare Envoy, without"
_BARE_THREE = "bare Envoy, three rules in one filter"
LIMITS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    _WITHOUT: {},
    _ONE: {"all": _PLENTY},
    _EACH: {"each": {**_PLENTY, "by": "address"}},
    _THREE: {
        "whole": _PLENTY,
        "client": {**_PLENTY, "by": "address"},
        "reads": {**_PLENTY, "by": "header:x-tenant", "match": {"methods": "GET"}},
    },
}

_AGAINST = {_ONE: _WITHOUT, _EACH: _WITHOUT, _THREE: _WITHOUT, _BARE_THREE: _BARE}


def run(*, quick: bool, console: Console) -> Result:
    """Measure each set of limits beside none."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        ports = {name: free_port() for name in [*LIMITS, _BARE, _BARE_THREE]}
        document = _configuration({name: ports[name] for name in LIMITS}, upstream)
        made = stack.enter_context(fleet(folder / "fleet", document, cores="1"))
        pin(made.envoy_pid(), {0})
        without, limited = ports[_BARE], ports[_BARE_THREE]
        bare = bare_envoy(folder, without=without, limited=limited, upstream=upstream, cores="0")
        stack.enter_context(bare)
        say = partial(console.print, "cost of local limits:")
        return _result(take_turns(under_load(ports), _AGAINST, 4 if quick else 40, say))


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


def _result(turns: Turns) -> Result:
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name in turns.taken:
        (ours if name in LIMITS else theirs).update(turns.figures(name))
    limited = [name for name in LIMITS if name != _WITHOUT]
    for name in limited:
        ratios[f"{name} / without, requests/s"] = 1 - turns.lost(name)
        ratios[f"{name} / without, requests by second of CPU"] = 1 - turns.lost_cpu(name)
    checks = {
        f"{name} costs at most {_LOST_MAX:.0%} of the requests": turns.lost(name) <= _LOST_MAX
        for name in limited
    }
    checks["no failed request"] = turns.failures == 0
    return Result("gatewaylimits", "requests/s", ours, {"envoy": theirs}, ratios, checks)
