"""Change everything under a steady load; count what fails.

A live route is flipped between services that are made for it and removed after; routes are added;
the control plane is killed with SIGKILL and started again; a WebSocket and a streaming response
on the flipped route, opened before the first flip, must outlive all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import httpx
import uvloop
from rich.console import Console
from rich.progress import Progress

from bench.fleet import Fleet, fleet
from bench.long_lived import LongLived
from bench.processes import running
from bench.report import Result
from moreton.kernel.ports import free_port
from moreton.testing.load import LoadReport, SteadyLoad

_RATE = 1500.0
_CONNECTIONS = 16


def run(*, quick: bool, console: Console) -> Result:
    """The whole story; a tenth of it when *quick*."""
    flips, kills, requests = (300, 1, 30_000) if quick else (3000, 10, 300_000)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {}
        for label in ("a", "b"):
            ports[label] = free_port()
            command = [sys.executable, "-m", "bench.app", label, str(ports[label])]
            stack.enter_context(running(command, log=folder / f"{label}.log", port=ports[label]))
        configuration = {
            "services": {"a": {"addresses": [f"127.0.0.1:{ports['a']}"]}},
            "routes": {"everything": {"path": "/*", "to": "a"}},
        }
        made = stack.enter_context(fleet(folder / "moreton", configuration))
        story = _Story(made, ports, flips=flips, kills=kills, requests=requests)
        with Progress(console=console) as progress:
            return uvloop.run(story.tell(progress))


class _Story:
    def __init__(
        self, made: Fleet, ports: dict[str, int], *, flips: int, kills: int, requests: int
    ) -> None:
        self._fleet = made
        self._ports = ports
        self._flips = flips
        self._kills = kills
        self._requests = requests
        self._envoy_pid = made.envoy_pid()

    async def tell(self, progress: Progress) -> Result:
        """Flip, add, kill, under load; then judge."""
        start = time.monotonic()
        await self._flip(0)
        port = self._fleet.port
        load = SteadyLoad(f"http://127.0.0.1:{port}/flip", rate=_RATE, connections=_CONNECTIONS)
        async with LongLived(port, "/flip") as moved, LongLived(port, "/still") as still, load:
            bar = progress.add_task("flips", total=self._flips)
            every = max(1, self._flips // (self._kills + 1))
            killed = 0
            for number in range(1, self._flips + 1):
                await self._flip(number)
                if number % every == 0 and killed < self._kills:
                    killed += 1
                    await asyncio.to_thread(self._restart)
                progress.update(bar, completed=number)
            bar = progress.add_task("requests", total=self._requests)
            while load.report.requests < self._requests:
                progress.update(bar, completed=load.report.requests)
                await asyncio.sleep(0.2)
            same_envoy = self._fleet.envoy_pid() == self._envoy_pid
            broken = moved.held.broken or still.held.broken
            messages = moved.held.messages + still.held.messages
            chunks = moved.held.chunks + still.held.chunks
        seconds = time.monotonic() - start
        ours = _figures(load.report) | {
            "flips": self._flips,
            "routes_added": self._flips,
            "control_plane_kills": killed,
            "websocket_messages": messages,
            "stream_chunks": chunks,
            "seconds": seconds,
        }
        both = min(load.report.labels["a"], load.report.labels["b"])
        checks = {
            f"at least {self._requests} requests": load.report.requests >= self._requests,
            "no failed request": load.report.failures == 0,
            "no reset or closed connection": load.report.resets + load.report.closes == 0,
            "both sides answered": both > load.report.requests / 10,
            "long-lived connections survived": not broken,
            "the same Envoy from first to last": same_envoy,
        }
        notes = [f"broken: {broken}"] if broken else []
        notes += [f"outcomes: {dict(load.report.outcomes)}"]
        return Result("hitless", "requests", ours, checks=checks, notes=notes)

    async def _flip(self, number: int) -> None:
        """A new service on the other backend, the route moved to it, a route more, the old gone."""
        port = self._ports["ab"[number % 2]]
        await self._call("PUT", f"services/flip-{number}", {"addresses": [f"127.0.0.1:{port}"]})
        route = {"path": "/flip/*", "to": f"flip-{number}"}
        await self._call("PUT", "routes/flip?wait=applied", route)
        if number:
            await self._call("DELETE", f"services/flip-{number - 1}")
            more = {"path": f"/more/{number}/*", "to": "a"}
            await self._call("PUT", f"routes/more-{number}", more)

    async def _call(self, method: str, path: str, body: object = None) -> None:
        def call() -> None:
            self._fleet.call(method, f"/v1/{path}", body)

        with contextlib.suppress(httpx.HTTPError):
            await asyncio.to_thread(call)
            return
        await asyncio.to_thread(call)  # once more: a kept-alive connection may have been old

    def _restart(self) -> None:
        self._fleet.kill()
        self._fleet.start()


def _figures(report: LoadReport) -> dict[str, float | int | str]:
    return {
        "requests": report.requests,
        "failures": report.failures,
        "resets": report.resets,
        "closes": report.closes,
        "p50_ms": report.percentile(0.5) * 1000,
        "p99_ms": report.percentile(0.99) * 1000,
    }
