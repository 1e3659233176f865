"""Three `moreton up` over one store, a live load through each Envoy; kill the leader ten times.

Each time the leader is killed with SIGKILL, a route's weights are turned round at a survivor,
another node comes to lead, and the dead one is started again. What is counted: requests that
failed, how long a change took to each living Envoy, and how long nobody led.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvloop
from rich.console import Console
from rich.progress import Progress

from bench.fleet import Fleet, configured
from bench.processes import running, stop
from bench.report import Result, median
from bench.shared_stores import etcd, raft
from moreton.envoy.identity import read_identity
from moreton.kernel.ports import free_port
from moreton.testing.load import LoadReport, Sample, SteadyLoad

_NAMES = ("a", "b", "c")
_RATE = 200.0  # through each of the three
_CONNECTIONS = 4
_SECONDS_MAX = 120.0
_POLL_SECONDS = 0.01
_WEIGHTS = "/v1/routes/everything/weights"


def run(*, quick: bool, console: Console) -> Result:
    """Ten kills on each kind of store; two on Raft alone when *quick*."""
    results = {"raft": _on(raft, kills=2 if quick else 10, console=console)}
    if not quick:
        results["etcd"] = _on(etcd, kills=10, console=console)
    whole = Result("failover", "requests", {})
    for on, found in results.items():
        whole.ours = {**whole.ours, **{f"{key}, {on}": each for key, each in found.ours.items()}}
        whole.checks |= {f"{key}, {on}": held for key, held in found.checks.items()}
        whole.notes += [f"{on}: {note}" for note in found.notes]
    return whole


def _on(
    store: Callable[[Path, Sequence[str]], AbstractContextManager[Mapping[str, str]]],
    *,
    kills: int,
    console: Console,
) -> Result:
    """The story on one kind of *store*, which says the URL for each node."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {label: free_port() for label in ("x", "y")}
        for label, port in ports.items():
            command = [sys.executable, "-m", "bench.app", label, str(port)]
            stack.enter_context(running(command, log=folder / f"{label}.log", port=port))
        urls = stack.enter_context(store(folder, _NAMES))
        nodes = stack.enter_context(_three_nodes(folder, urls, ports))
        with Progress(console=console) as progress:
            return uvloop.run(_Story(nodes).tell(kills, progress))


@contextlib.contextmanager
def _three_nodes(
    folder: Path, stores: Mapping[str, str], ports: dict[str, int]
) -> Iterator[dict[str, Fleet]]:
    nodes = {}
    for name in _NAMES:
        made = Fleet(folder / name, free_port(), free_port())
        api = {"api": f"127.0.0.1:{made.api_port}", "node": name, "store": stores[name]}
        services = {x: {"addresses": [f"127.0.0.1:{port}"]} for x, port in ports.items()}
        routes = {"everything": {"path": "/*", "to": {"x": 1, "y": 0}}}
        configured(made, {"services": services, "routes": routes, "controlplane": api})
        nodes[name] = made
    try:
        for made in nodes.values():
            made.spawn()
        for made in nodes.values():
            made.wait_ready(_SECONDS_MAX)
        yield nodes
    finally:
        for made in nodes.values():
            if made.child is not None:
                stop(made.child, 20)
            left = read_identity(made.folder / ".moreton" / "envoy" / "envoy.json")
            if left is not None:  # of a node that was dead when something else went wrong
                left.send(signal.SIGKILL)


@dataclass(slots=True)
class _Measured:
    """What was seen of each kill, in seconds."""

    arrivals: list[float] = field(default_factory=list)  # of a change, at each living Envoy
    leaderless: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


class _Story:
    def __init__(self, nodes: dict[str, Fleet]) -> None:
        self._nodes = nodes
        self._served = dict.fromkeys(nodes, "")  # what each Envoy answered last
        self._measured = _Measured()

    async def tell(self, kills: int, progress: Progress) -> Result:
        """Kill under load; then judge."""
        await self._until(lambda: self._leader() is not None)
        pids = {name: made.envoy_pid() for name, made in self._nodes.items()}
        bar = progress.add_task("the leader is killed", total=kills)
        async with contextlib.AsyncExitStack() as stack:
            loads = [
                await stack.enter_async_context(self._load(name, made))
                for name, made in self._nodes.items()
            ]
            for number in range(kills):
                await self._kill(number)
                progress.update(bar, completed=number + 1)
        same = pids == {name: made.envoy_pid() for name, made in self._nodes.items()}
        return self._judge([load.report for load in loads], kills, same_envoys=same)

    def _load(self, name: str, made: Fleet) -> SteadyLoad:
        load = SteadyLoad(f"{made.url}/", rate=_RATE, connections=_CONNECTIONS)

        def see(sample: Sample) -> None:
            self._served[name] = sample.label

        load.on_sample = see
        return load

    async def _kill(self, number: int) -> None:
        leader = self._leader()
        assert leader is not None
        dead = self._nodes[leader]
        await asyncio.to_thread(dead.kill)
        began = time.monotonic()
        living = [name for name in self._nodes if name != leader]
        label = "yx"[number % 2]
        weights = {each: int(each == label) for each in ("x", "y")}
        changing = self._nodes[living[number % 2]]
        await asyncio.to_thread(changing.call, "PUT", _WEIGHTS, weights)
        changed = time.monotonic()
        for name in living:
            await self._until(partial(self._serves, name, label))
            self._measured.arrivals.append(time.monotonic() - changed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._note_leader(began, leader, living))
            tasks.create_task(asyncio.to_thread(dead.start, _SECONDS_MAX))
        await self._until(partial(self._serves, leader, label))

    def _serves(self, name: str, label: str) -> bool:
        return self._served[name] == label

    async def _note_leader(self, began: float, dead: str, living: list[str]) -> None:
        await self._until(lambda: self._leader(living) not in {None, dead})
        self._measured.leaderless.append(time.monotonic() - began)
        self._measured.tokens.append(self._document(living[0])["token"])

    def _leader(self, asked: list[str] | None = None) -> str | None:
        """Who leads, when all that are *asked* agree."""
        said = {self._document(name)["leader"] for name in asked or self._nodes}
        return said.pop() if len(said) == 1 else None

    def _document(self, name: str) -> dict[str, Any]:
        try:
            found = self._nodes[name].call("GET", "/v1/status")
        except httpx.HTTPError:
            return {"leader": None, "token": None}
        assert isinstance(found, dict)
        node = found["node"]
        assert isinstance(node, dict)
        return node

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_SECONDS_MAX):
            while not condition():
                await asyncio.sleep(_POLL_SECONDS)

    def _judge(self, reports: list[LoadReport], kills: int, *, same_envoys: bool) -> Result:
        requests = sum(each.requests for each in reports)
        failures = sum(each.failures for each in reports)
        cut = sum(each.resets + each.closes for each in reports)
        tokens = self._measured.tokens
        ours = {
            "kills": len(tokens),
            "requests": requests,
            "failures": failures,
            "resets_and_closes": cut,
            "p50_ms": median([each.percentile(0.5) for each in reports]) * 1000,
            "p99_ms": max(each.percentile(0.99) for each in reports) * 1000,
            "change_arrives_ms": median(self._measured.arrivals) * 1000,
            "without_leader_s": median(self._measured.leaderless),
        }
        checks = {
            f"the leader was killed {kills} times": len(tokens) == kills,
            "no failed request": failures == 0,
            "no reset or closed connection": cut == 0,
            "every change arrived at every Envoy": len(self._measured.arrivals) == 2 * kills,
            "every term had a larger fencing token": tokens == sorted(set(tokens)),
            "the same Envoys from first to last": same_envoys,
        }
        both = zip(_NAMES, reports, strict=True)
        outcomes = [f"outcomes of {name}: {dict(report.outcomes)}" for name, report in both]
        return Result("failover", "requests", ours, checks=checks, notes=outcomes)
