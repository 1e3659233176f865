"""What a shared limit costs an Envoy that keeps below it: requests a second, with and without.

Each `moreton up` has an Envoy on core 0; h2load and the backend have core 1. All run at once, one
under load at a time, in short turns.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import peers
from bench.fleet import Fleet, configured
from bench.gateway import backend
from bench.processes import pin, stop
from bench.report import Result
from bench.turns import Turns, take_turns, under_load
from moreton.kernel.ports import free_port

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
        say = partial(console.print, "cost of a shared limit:")
        against = dict.fromkeys([name for name in ports if name != _WITHOUT], _WITHOUT)
        return _judged(take_turns(under_load(ports), against, 6 if quick else 60, say))


def _judged(turns: Turns) -> Result:
    ours: dict[str, float] = {}
    for name in turns.taken:
        ours |= turns.figures(name)
    checks = {f"a limit that is {_SHARED} costs at most 7 %": turns.lost(_SHARED) <= _LOST_MAX}
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
