"""A limit that two Envoys share: how close to it both together are, and what it costs.

Two `moreton up`, each with its Envoy, share a store. Paced loads ask for more than the limit, in
turn evenly, unevenly, and all of it at one of the two; what passes is counted from 2 seconds after
each change on.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console

from bench.fleet import Fleet, configured
from bench.processes import Missing, need, stop
from bench.report import Result
from bench.shared_stores import etcd, raft
from moreton.envoy.identity import read_identity
from moreton.kernel.ports import free_port
from moreton.testing.load import Sample, SteadyLoad

LIMIT = 200  # requests a second
_BURST = 100
_SETTLED_SECONDS = 2.0
_OFF_MAX = 0.05
_CONNECTIONS = 8
_PASSED = "302"  # a redirect: the limit is before it, and no service is
_READY_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Phase:
    """What is asked of each of the two, in requests a second."""

    name: str
    rates: tuple[float, float]

    @property
    def exact(self) -> float:
        """What is to pass of it."""
        return min(LIMIT, sum(self.rates))


PHASES = (
    Phase("even", (250, 250)),
    Phase("uneven", (30, 450)),
    Phase("all at one", (500, 0)),
    Phase("all at the other", (0, 500)),
    Phase("less than the limit", (120, 40)),
)
QUICK = (PHASES[2],)


def run(*, quick: bool, console: Console) -> Result:
    """All phases; the hardest when *quick*."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = stack.enter_context(two_nodes(folder))
        console.print("two Envoys share a limit of", LIMIT, "requests a second")
        phases = QUICK if quick else PHASES
        found = uvloop.run(_measure(nodes, phases, 2.5 if quick else 8.0))
    ours = {f"{phase.name}, requests/s": found[phase] for phase in phases}
    worst = max(abs(found[phase] / phase.exact - 1) for phase in phases)
    ours["most off, %"] = worst * 100
    check = "two Envoys share one limit within 5 % from 2 s after any change on"
    return Result("gatewaylimits", "requests/s", ours, checks={check: worst <= _OFF_MAX})


async def _measure(
    nodes: Sequence[Fleet], phases: Sequence[Phase], seconds: float
) -> dict[Phase, float]:
    found = {}
    for phase in phases:
        samples: list[float] = []
        loads = [
            SteadyLoad(f"{node.url}/", rate=rate, connections=_CONNECTIONS)
            for node, rate in zip(nodes, phase.rates, strict=True)
            if rate
        ]
        start = time.perf_counter() + _SETTLED_SECONDS
        for load in loads:
            load.on_sample = _noting(samples)
        async with contextlib.AsyncExitStack() as stack:
            for load in loads:
                await stack.enter_async_context(load)
            await asyncio.sleep(_SETTLED_SECONDS + seconds)
        passed = sum(start <= each < start + seconds for each in samples)
        found[phase] = passed / seconds
    return found


def _noting(samples: list[float]) -> Callable[[Sample], None]:
    """Note when what passes was asked: what a halt of the machine delays, it does not move."""

    def note(sample: Sample) -> None:
        if sample.outcome == _PASSED:
            samples.append(sample.due)

    return note


@contextlib.contextmanager
def two_nodes(folder: Path, limit: Mapping[str, object] | None = None) -> Iterator[list[Fleet]]:
    """Two control planes with an Envoy each, that share a *limit*."""
    rule = limit or {"limit": f"{LIMIT}/s", "burst": _BURST, "scope": "quota"}
    names = ("a", "b")
    nodes = []
    with _store()(folder, names) as urls:
        for name in names:
            made = Fleet(folder / name, free_port(), free_port())
            api = {"api": f"127.0.0.1:{made.api_port}", "node": name, "store": urls[name]}
            document = {
                "routes": {"everything": {"path": "/*", "redirect": {"path": "/there"}}},
                "limits": {"all": rule},
                "controlplane": api,
            }
            configured(made, document)
            nodes.append(made)
        try:
            for made in nodes:
                made.spawn()
            for made in nodes:
                made.wait_ready(_READY_SECONDS_MAX)
            yield nodes
        finally:
            for made in nodes:
                if made.child is not None:
                    stop(made.child, 20)
                left = read_identity(made.folder / ".moreton" / "envoy" / "envoy.json")
                if left is not None:
                    left.send(signal.SIGKILL)


def _store() -> Callable[[Path, Sequence[str]], AbstractContextManager[Mapping[str, str]]]:
    try:
        need("etcd")
    except Missing:
        return raft
    return etcd
