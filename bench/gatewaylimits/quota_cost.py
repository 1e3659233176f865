"""What a shared limit costs an Envoy that keeps below it: requests a second, with and without.

Each `moreton up` has an Envoy on core 0; wrk and the backend have core 1. All run at once, one
under load at a time, round after round, in turning order.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from bench import peers
from bench.fleet import Fleet, configured
from bench.gateway import backend
from bench.processes import cpu_seconds, pin, stop
from bench.report import Result, median
from bench.wrk import wrk
from moreton.kernel.ports import free_port

_CONNECTIONS = 32
_LOST_MAX = 0.07
_PLENTY = {"limit": "1000000/s", "scope": "quota"}
_WITHOUT, _SHARED, _OF_SOME = "without limits", "shared", "shared, with a condition"
_LIMITS: Mapping[str, Mapping[str, object]] = {
    _WITHOUT: {},
    _SHARED: {"all": _PLENTY},
    _OF_SOME: {"reads": {**_PLENTY, "match": {"methods": "GET"}}},
}


def run(*, quick: bool, console: Console) -> Result:
    """With and without a shared limit, and an Envoy that has nothing of ours."""
    rounds, seconds = (2, 1) if quick else (11, 3)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        ports: dict[str, int] = {}
        if not quick:
            ports["bare"] = free_port()
            stack.enter_context(peers.bare_envoy(folder, ports["bare"], upstream, "0"))
        # A third control plane takes longer to start than all the rounds when quick.
        wanted = [_WITHOUT, _SHARED] if quick else list(_LIMITS)
        for name, made in stack.enter_context(_fleets(folder, upstream, wanted)).items():
            pin(made.envoy_pid(), {0})
            ports[name] = made.port
        figures: dict[str, list[float]] = {name: [] for name in ports}
        costs: dict[str, list[float]] = {name: [] for name in ports}
        order = list(ports)
        for number in range(rounds):
            console.print(f"cost of a shared limit: round {number + 1} of {rounds}")
            for name in order[number % len(order) :] + order[: number % len(order)]:
                before = cpu_seconds(ports[name])
                url = f"http://127.0.0.1:{ports[name]}/"
                found = wrk(url, seconds=seconds, connections=_CONNECTIONS, cores="1")
                spent = cpu_seconds(ports[name]) - before
                figures[name].append(found.rps)
                costs[name].append(found.rps * seconds / spent if spent else 0.0)
    return _judged(figures, costs)


def _judged(figures: Mapping[str, list[float]], costs: Mapping[str, list[float]]) -> Result:
    ours = {f"{name}, requests/s": median(each) for name, each in figures.items()}
    ours |= {f"{name}, requests per CPU second": median(each) for name, each in costs.items()}
    lost = {
        name: 1
        - median(
            # A proxy that got no processor at all in its turn says nothing.
            [a / b for a, b in zip(costs[name], costs[_WITHOUT], strict=True) if a and b]
        )
        for name in (_SHARED, _OF_SOME)
        if name in costs
    }
    ours |= {f"{name}, lost %": each * 100 for name, each in lost.items()}
    checks = {f"a limit that is {_SHARED} costs at most 7 %": lost[_SHARED] <= _LOST_MAX}
    return Result("gatewaylimits", "requests/s", ours, checks=checks)


@contextlib.contextmanager
def _fleets(folder: Path, upstream: int, wanted: Iterable[str]) -> Iterator[dict[str, Fleet]]:
    """One for each of the limits *wanted*; all start, and end, at once."""
    fleets: dict[str, Fleet] = {}
    try:
        for name in wanted:
            made = Fleet(folder / str(len(fleets)), free_port(), free_port(), "1")
            document = {
                "services": {"app": {"addresses": [f"127.0.0.1:{upstream}"]}},
                "routes": {"everything": {"path": "/*", "to": "app"}},
                "limits": _LIMITS[name],
            }
            configured(made, document)
            made.spawn()
            fleets[name] = made
        for made in fleets.values():
            made.wait_ready()
        yield fleets
    finally:
        children = [made.child for made in fleets.values() if made.child is not None]
        for child in children:
            child.terminate()
        for child in children:
            stop(child, 20)
