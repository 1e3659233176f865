"""What a shared limit costs an Envoy that keeps below it: requests a second, with and without.

Each `moreton up` has an Envoy on core 0; h2load and the backend have core 1. All run at once, one
under load at a time, in short turns; all are started anew several times. They are not gateways of
one Envoy: that is asked for its statistics where a limit is shared, which is a part of the cost.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import peers
from bench.fleet import Fleet, configured
from bench.gateway import backend
from bench.processes import pin, stop
from bench.report import Result
from bench.starts import Starts, take_starts
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
    starts, rounds = (2, 3) if quick else (5, 8)
    # A third control plane takes longer to start than all the rounds when quick.
    wanted = [_WITHOUT, _SHARED] if quick else list(_LIMITS)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))

        def take(number: int) -> Turns:
            say = partial(console.print, f"cost of a shared limit, start {number + 1} of {starts}:")
            # Another one is started first each time.
            order = wanted[number % len(wanted) :] + wanted[: number % len(wanted)]
            return _turns(folder / str(number), upstream, order, rounds, say)

        return _judged(take_starts(starts, take))


def _turns(
    folder: Path, upstream: int, wanted: Iterable[str], rounds: int, say: Callable[[str], object]
) -> Turns:
    """The turns of one start."""
    folder.mkdir()
    bare = free_port()
    with (
        peers.bare_envoy(folder, bare, upstream, "0"),
        _fleets(folder, upstream, wanted) as fleets,
    ):
        ports = {"bare": bare}
        for name in filter(fleets.__contains__, _LIMITS):
            pin(fleets[name].envoy_pid(), {0})
            ports[name] = fleets[name].port
        against = dict.fromkeys([name for name in ports if name != _WITHOUT], _WITHOUT)
        return take_turns(under_load(ports), against, rounds, say)


def _judged(starts: Starts) -> Result:
    ours: dict[str, float | int | str] = {}
    for name in starts.names:
        ours |= starts.figures(name)
    checks = {f"a limit that is {_SHARED} costs at most 7 %": starts.lost(_SHARED) <= _LOST_MAX}
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
