"""Programs under `moreton run` behind a real Envoy, under load while they come and go."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.up.world import DEADLINE_SECONDS, MORETON, World, wait_until, world_in
from moreton.testing.load import LoadReport, SteadyLoad

TINY = Path(__file__).with_name("tiny.py")
SERVICE = "shop"
ROLLOUT_SECONDS_MAX = 120.0


@dataclass(slots=True)
class Runner:
    """One `moreton run`."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        """What it and its program said."""
        return self.output.read_text(errors="replace")

    def wait(self) -> int:
        """Its status, once it ended."""
        return self.process.wait(DEADLINE_SECONDS)


@dataclass(slots=True)
class Fleet:
    """A control plane, its Envoy, and runners of one service."""

    world: World
    runners: dict[str, Runner] = field(default_factory=dict)
    commands: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *names: str, options: Sequence[str] = ()) -> None:
        """Start a program for each name; each serves and is sent requests."""
        for name in names:
            if name in self.runners:
                self.runners[name].wait()  # one of that name has left
            output = self.world.folder / f"{name}-{len(list(self.world.folder.iterdir()))}.log"
            command = [*MORETON, "run", "--service", SERVICE, "--id", name, *options, "--"]
            command += [sys.executable, "-E", "-S", str(TINY), "{port}", name]
            with output.open("ab") as log:
                process = subprocess.Popen(
                    command, cwd=self.world.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            self.runners[name] = Runner(name, process, output)
        wait_until(lambda: set(names) <= self.serving(), f"{names} serve", 120.0)

    def there(self) -> list[dict[str, Any]]:
        """The registered instances."""
        found = self.world.api.get(f"/v1/services/{SERVICE}/instances")
        assert isinstance(found, list)
        return found

    def states(self) -> dict[str, str]:
        """The state of each registered instance by id."""
        return {each["id"]: each["state"] for each in self.there()}

    def serving(self) -> set[str]:
        """The ids of those that serve."""
        return {name for name, state in self.states().items() if state == "serving"}

    def pids(self) -> dict[str, int]:
        """The process of each program that answers, asked at its own port."""
        found = {each["id"]: _pid(each["port"]) for each in self.there()}
        return {name: pid for name, pid in found.items() if pid is not None}

    def came_back(self, before: dict[str, int]) -> list[str]:
        """The names of those that are other processes than *before*."""
        return [name for name, pid in self.pids().items() if pid != before.get(name)]

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """A command of `moreton`, not waited for."""
        command = subprocess.Popen(
            [*MORETON, *arguments],
            cwd=self.world.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.commands.append(command)
        return command

    def events(self) -> list[dict[str, Any]]:
        """What happened within an hour."""
        found = self.world.api.get("/v1/events", service=SERVICE)
        assert isinstance(found, list)
        return found

    def load(self, rate: float = 100.0) -> SteadyLoad:
        """A load on the gateway."""
        url = f"http://127.0.0.1:{self.world.port}/"
        return SteadyLoad(url, rate=rate, connections=8)

    def ask_slowly(self, seconds: float, times: int) -> SlowRequests:
        """So many requests at once, each of which takes so long."""
        return SlowRequests(self.world, seconds, times)

    def end(self) -> None:
        """Leave no program behind."""
        for command in self.commands:
            if command.poll() is None:
                command.kill()
            command.communicate(timeout=DEADLINE_SECONDS)
        for runner in self.runners.values():
            if runner.process.poll() is None:
                for pid in children(runner.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                runner.process.kill()
            runner.process.wait(DEADLINE_SECONDS)


class SlowRequests:
    """Requests under way, each in a thread of its own."""

    def __init__(self, world: World, seconds: float, times: int) -> None:
        self.answers: list[int | str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(world, f"/slow?{seconds}"))
            for _ in range(times)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, world: World, path: str) -> None:
        try:
            self.answers.append(world.ask(path)[0])
        except OSError as error:
            self.answers.append(str(error))

    def wait(self) -> list[int | str]:
        """The status of each, or what became of it."""
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
        return self.answers


def finish(process: subprocess.Popen[str], seconds: float = DEADLINE_SECONDS) -> tuple[int, str]:
    """The status of a command, and all that it said."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, f"{out}{err}"


def document(text: str) -> Any:
    """The JSON document that a command printed."""
    return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]


def nothing_lost(report: LoadReport) -> None:
    """Fails unless every request was answered well."""
    assert report.requests > 20
    assert (report.failures, report.resets) == (0, 0), dict(report.outcomes)


def children(pid: int) -> list[int]:
    """The processes that *pid* started."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def _pid(port: int) -> int | None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as client:
        try:
            client.request("GET", "/")
            return int(client.getresponse().read())
        except (OSError, http.client.HTTPException):
            return None


@contextlib.contextmanager
def fleet_in(folder: Path) -> Iterator[Fleet]:
    """A fleet without a program; it leaves nothing running."""
    with world_in(folder) as world:
        routes = {"everything": {"path": "/*", "to": SERVICE}}
        services = {SERVICE: {"discover": True}}
        world.write(world.configuration(services=services, routes=routes))
        world.start()
        fleet = Fleet(world)
        try:
            yield fleet
        finally:
            fleet.end()
