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

from e2e.up.world import DEADLINE_SECONDS, MORETON, World, world_in
from moreton.testing.load import LoadReport, SteadyLoad
from support.preloaded import Preloaded, start
from support.waits import wait_until

TINY = Path(__file__).with_name("tiny.py")
SERVICE = "shop"
ROLLOUT_SECONDS_MAX = 120.0
_HELD_MAX = 200


@dataclass(slots=True)
class Runner:
    """One `moreton run`."""

    name: str
    process: Preloaded
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
    held: list[HeldRequests] = field(default_factory=list)

    def run(self, *names: str, options: Sequence[str] = ()) -> None:
        """Start a program for each name; each serves and is sent requests."""
        for name in names:
            if name in self.runners:
                self.runners[name].wait()  # one of that name has left
            output = self.world.folder / f"{name}-{len(list(self.world.folder.iterdir()))}.log"
            command = ["run", "--service", SERVICE, "--id", name, *options, "--"]
            command += [sys.executable, "-E", "-S", str(TINY), "{port}", name]
            process = start(command, folder=self.world.folder, out=output, err=output)
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

    def hold(self, times: int, *, at: str) -> HeldRequests:
        """So many requests under way or some more, so that the instance *at* has one."""
        found = HeldRequests(self.world, f"{len(self.held)}")
        self.held.append(found)
        pid = self.pids()[at]
        asked = 0
        while asked < times or not found.at(pid):
            assert asked < _HELD_MAX, f"{at} gets none of {asked} requests"
            found.add()
            asked += 1
        return found

    def end(self) -> None:
        """Leave no program behind."""
        for held in self.held:
            held.wait()
        for command in self.commands:
            if command.poll() is None:
                command.kill()
            command.communicate(timeout=DEADLINE_SECONDS)
        for runner in self.runners.values():
            if runner.process.poll() is None:
                # It may be about to start its program anew.
                runner.process.send_signal(signal.SIGSTOP)
                for pid in children(runner.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                runner.process.kill()
            runner.process.wait(DEADLINE_SECONDS)


class HeldRequests:
    """Requests under way until they are let go, each in a thread of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.answers: list[int | str] = []
        self._world = world
        self._name = name
        self._threads: list[threading.Thread] = []

    def add(self) -> None:
        """One more, which has come to a program."""
        self._threads.append(threading.Thread(target=self._ask))
        self._threads[-1].start()
        wait_until(lambda: len(self._held()) >= len(self._threads), "a request is under way")

    def at(self, pid: int) -> int:
        """How many that program has under way."""
        return sum(path.name.startswith(f"held-{self._name}-{pid}-") for path in self._held())

    def release(self) -> None:
        """Let them be answered."""
        (self._world.folder / f"go-{self._name}").touch()

    def wait(self) -> list[int | str]:
        """Let them be answered; the status of each, or what became of it."""
        self.release()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
        return self.answers

    def _held(self) -> list[Path]:
        return list(self._world.folder.glob(f"held-{self._name}-*"))

    def _ask(self) -> None:
        place = ("127.0.0.1", self._world.port)
        with contextlib.closing(http.client.HTTPConnection(*place, timeout=300)) as client:
            try:
                client.request("GET", f"/held?{self._name}")
                self.answers.append(client.getresponse().status)
            except (OSError, http.client.HTTPException) as error:
                self.answers.append(str(error))


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
    found = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False, timeout=30
    )
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
        routes = {"everything": {"path": "/*", "to": SERVICE, "timeout": "5m"}}
        services = {SERVICE: {"discover": True}}
        world.write(world.configuration(services=services, routes=routes))
        world.start()
        fleet = Fleet(world)
        try:
            yield fleet
        finally:
            fleet.end()
