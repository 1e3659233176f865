"""What a shared limit costs an Envoy that keeps below it: requests by second of CPU.

Each `moreton up` has an Envoy on core 0; h2load and the backend have core 1. They are not gateways
of one Envoy: that is asked for its statistics where a limit is shared, which is a part of the cost.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.fleet import Fleet, configured, renew_envoys
from bench.gateway import backend
from bench.processes import pin, stop
from bench.report import Result
from bench.starts import Start, Starts, take_pairs, take_starts
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
    """With and without a shared limit."""
    starts, rounds = (2, 3) if quick else (9, 5)
    # A third control plane takes longer to start than all the rounds when quick.
    wanted = [_WITHOUT, _SHARED] if quick else list(_LIMITS)
    against = {name: _WITHOUT for name in wanted if name != _WITHOUT}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        fleets = stack.enter_context(_fleets(folder, upstream, wanted))
        ports = {name: made.port for name, made in fleets.items()}

        def take(number: int) -> Start:
            say = partial(console.print, f"cost of a shared limit, start {number + 1} of {starts}:")
            # Another one is started first each time.
            first = number % len(wanted)
            names = wanted[first:] + wanted[:first]
            for pid in renew_envoys([(fleets[name], [ports[name]]) for name in names]):
                pin(pid, {0})
            return take_pairs(ports, against, rounds, say)

        return _judged(take_starts(starts, take))


def _judged(starts: Starts) -> Result:
    ours: dict[str, float | int | str] = {}
    for name in starts.names:
        ours |= starts.figures(name)
    held = starts.lost(_SHARED).share <= _LOST_MAX
    checks = {f"a limit that is {_SHARED} costs at most 7 %": held}
    notes = starts.undecided(_SHARED, _LOST_MAX)
    return Result("gatewaylimits", "us of CPU", ours, checks=checks, notes=notes)


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
