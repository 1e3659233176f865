"""Start a service anew again and again under a steady load, and let instances leave; count losses.

The programs die of SIGTERM at once and lose what is under way: only a drain that knows can lose
nothing. Beside it: how long from a registration to the first request that Envoy sends there.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import uvloop
from rich.console import Console
from rich.progress import Progress

from bench.fleet import Fleet, fleet
from bench.processes import stop
from bench.report import Result
from moreton.testing.load import LoadReport, SteadyLoad

_SERVICE = "shop"
_RATE = 200.0
_CONNECTIONS = 16
_START_SECONDS_MAX = 120.0
_ROLLOUT_SECONDS_MAX = 300.0
# Dies of SIGTERM as it is: without a handler, in the middle of an answer.
_PROGRAM = """
import asyncio, os, sys
async def talk(reader, writer):
    pid = str(os.getpid()).encode()
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            await asyncio.sleep(0.02)
            head = b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\nx-served-by: %b\\r\\n\\r\\n"
            writer.write(head % (len(pid), pid) + pid)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(talk, "127.0.0.1", int(sys.argv[1]), backlog=512)
    await server.serve_forever()
asyncio.run(main())
"""


def run(*, quick: bool, console: Console) -> Result:
    """Twenty instances, ten rollouts; six and one when *quick*."""
    count, rollouts, arrivals = (6, 1, 40) if quick else (20, 10, 300)
    configuration = {
        "services": {_SERVICE: {"discover": True}, "solo": {"discover": True}},
        "routes": {
            "everything": {"path": "/*", "to": _SERVICE},
            "solo": {"path": "/solo/*", "to": "solo"},
        },
    }
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = stack.enter_context(fleet(folder / "moreton", configuration))
        runners = stack.enter_context(_running(made, count))
        with Progress(console=console) as progress:
            story = _Story(made, runners, rollouts=rollouts, arrivals=arrivals)
            return uvloop.run(story.tell(progress))


@contextlib.contextmanager
def _running(made: Fleet, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    program = made.folder / "program.py"
    program.write_text(_PROGRAM)
    runners = []
    for number in range(count):
        command = [sys.executable, "-m", "moreton.cli.main", "run", "--service", _SERVICE]
        command += ["--id", f"s{number}", "--", sys.executable, "-E", "-S", str(program), "{port}"]
        with (made.folder / "runners.log").open("ab") as log:
            runners.append(subprocess.Popen(command, cwd=made.folder, stdout=log, stderr=log))
    try:
        until = time.monotonic() + _START_SECONDS_MAX
        while len(_there(made)) < count:
            if time.monotonic() > until:
                raise RuntimeError((made.folder / "runners.log").read_text()[-2000:])
            time.sleep(0.05)
        yield runners
    finally:
        for runner in runners:
            stop(runner, 20)


def _there(made: Fleet) -> list[dict[str, object]]:
    found = made.call("GET", f"/v1/services/{_SERVICE}/instances")
    assert isinstance(found, list)
    return found


class _Story:
    def __init__(
        self, made: Fleet, runners: list[subprocess.Popen[bytes]], *, rollouts: int, arrivals: int
    ) -> None:
        self._fleet = made
        self._runners = runners
        self._rollouts = rollouts
        self._arrivals = arrivals

    async def tell(self, progress: Progress) -> Result:
        """Roll, leave, arrive."""
        bar = progress.add_task("rollouts", total=self._rollouts)
        seconds = []
        async with SteadyLoad(self._fleet.url, rate=_RATE, connections=_CONNECTIONS) as load:
            for _ in range(self._rollouts):
                began = time.monotonic()
                await asyncio.to_thread(self._restart)
                seconds.append(time.monotonic() - began)
                progress.advance(bar)
            rolling = len(load.report.labels)
            half = len(self._runners) // 2
            began = time.monotonic()
            for runner in self._runners[:half]:
                runner.terminate()
            for runner in self._runners[:half]:
                await asyncio.to_thread(runner.wait)
            leaving = time.monotonic() - began
        arrivals = await self._arrive(progress)
        arrivals.sort()
        p99 = arrivals[int(0.99 * (len(arrivals) - 1))] * 1000
        report = load.report
        ours = _figures(report) | {
            "instances": len(self._runners),
            "rollouts": self._rollouts,
            "programs_that_answered": rolling,
            "rollout_s": sum(seconds) / len(seconds),
            "half_left_s": leaving,
            "first_request_p50_ms": arrivals[len(arrivals) // 2] * 1000,
            "first_request_p99_ms": p99,
        }
        checks = {
            "no failed request": report.failures == 0,
            "no reset or refused connection": report.resets == 0,
            "every program was started anew each time": rolling
            >= len(self._runners) * self._rollouts,
            "first request within 100 ms of the registration, p99": p99 <= 100,
        }
        return Result(
            "rollout", "requests", ours, checks=checks, notes=[f"outcomes: {dict(report.outcomes)}"]
        )

    def _restart(self) -> None:
        command = [sys.executable, "-m", "moreton.cli.main", "rollout", "restart", _SERVICE]
        done = subprocess.run(
            [*command, "--json"],
            cwd=self._fleet.folder,
            capture_output=True,
            text=True,
            timeout=_ROLLOUT_SECONDS_MAX,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)

    async def _arrive(self, progress: Progress) -> list[float]:
        """From the call that registers to the first answer of the instance through Envoy."""
        bar = progress.add_task("arrivals", total=self._arrivals)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = "/v1/services/solo/instances"
        waits = []
        async with httpx.AsyncClient(base_url=self._fleet.url) as client:
            for number in range(self._arrivals):
                body = {"id": f"a{number}", "address": "127.0.0.1", "port": port}
                began = time.monotonic()
                await asyncio.to_thread(self._fleet.call, "POST", place, body)
                while (await client.get("/solo/")).status_code != 200:
                    await asyncio.sleep(0.001)
                waits.append(time.monotonic() - began)
                await asyncio.to_thread(self._fleet.call, "DELETE", f"{place}/a{number}")
                while (await client.get("/solo/")).status_code == 200:
                    await asyncio.sleep(0.001)
                progress.advance(bar)
        server.close()
        return waits


def _figures(report: LoadReport) -> dict[str, float | int | str]:
    return {
        "requests": report.requests,
        "failures": report.failures,
        "resets": report.resets,
        "p50_ms": report.percentile(0.5) * 1000,
        "p99_ms": report.percentile(0.99) * 1000,
    }
