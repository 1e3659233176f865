"""A real control plane, instances as programs of their own, and clients that never stop asking."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from e2e.up.world import World
from moreton.registry.discovery import Discovery, NoInstance, Snapshot
from moreton.registry.discovery.clients.httpx import DiscoveryTransport
from support.waits import join_all, wait_until

PROGRAM = Path(__file__).parent / "serving_program.py"
URL = "http://orders.moreton/"
# So that a loop that is forgotten ends.
_REQUESTS_MAX = 100_000
_PAUSE_SECONDS = 0.002


@dataclass
class Fleet:
    """Instances of orders, as processes, registered by the SDK at the control plane of *world*."""

    world: World
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *names: str, ttl: str = "1s") -> None:
        """Start instances; not waited for."""
        for name in names:
            self.running[name] = subprocess.Popen(
                [sys.executable, str(PROGRAM), name, ttl],
                cwd=self.world.folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def kill(self, name: str) -> float:
        """As `kill -9`; when."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        return time.monotonic()

    @property
    def token(self) -> str:
        """What opens the API."""
        return (self.world.folder / ".moreton" / "token").read_text().strip()

    def discovery(self) -> Discovery:
        """A client of this control plane."""
        return Discovery(api=f"http://127.0.0.1:{self.world.api_port}", token=self.token)

    def connection(self) -> http.client.HTTPConnection:
        """To the API, for `post`: a client with less to do than the API has."""
        return http.client.HTTPConnection("127.0.0.1", self.world.api_port, timeout=10)

    def post(self, connection: http.client.HTTPConnection, path: str, body: object) -> None:
        """POST to the API, which accepts it."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        connection.request("POST", path, body=json.dumps(body), headers=headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()

    def end(self) -> None:
        """Leave nothing running."""
        for name in list(self.running):
            self.kill(name)


class Watching:
    """A client of discovery; remembers every view that it had, and when."""

    def __init__(self, discovery: Discovery) -> None:
        self.discovery = discovery
        self.views: list[tuple[float, frozenset[str]]] = []
        discovery.follow("orders").listen(self._note)

    def sees(self) -> set[str]:
        """Who is known now."""
        return {str(each.id) for each in self.discovery.instances("orders")}

    def gone_at(self, name: str) -> float:
        """When *name* was seen no longer; waits for that."""
        wait_until(lambda: self.views and name not in self.views[-1][1], f"{name} is gone")
        return next(at for at, seen in reversed(self.views) if name not in seen)

    def _note(self, snapshot: Snapshot) -> None:
        self.views.append((time.monotonic(), frozenset(map(str, _ids(snapshot)))))


def _ids(snapshot: Snapshot) -> Iterator[str]:
    return (each.id for each in snapshot.instances)


class Load:
    """Threads that GET, one request after the other, while this is entered."""

    def __init__(self, discovery: Discovery, threads: int = 3) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._enough = threading.Event()
        self._client = httpx.Client(transport=DiscoveryTransport(discovery), timeout=10)
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def wait_answers(self, more: int) -> None:
        """Wait for *more* answers than there are."""
        count = self.answers.total()
        wait_until(lambda: self.answers.total() >= count + more, f"{more} more answers")

    def asks(self, url: str) -> bool:
        """Whether *url* answers now."""
        try:
            return self._client.get(url).is_success
        except NoInstance:
            return False

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._enough.set()
        join_all(self._threads)
        self._client.close()

    def _ask(self) -> None:
        for _ in range(_REQUESTS_MAX):
            if self._enough.wait(_PAUSE_SECONDS):
                return
            try:
                answer = self._client.get(URL)
            except httpx.HTTPError as error:
                self.failures.append(f"{error!r} {getattr(error, '__notes__', '')}")
            else:
                self.answers[answer.text if answer.is_success else f"status {answer}"] += 1


@contextlib.contextmanager
def fleet_in(folder: Path) -> Iterator[Fleet]:
    """A control plane in *folder*, with a service to discover."""
    world = World(folder)
    world.write(world.configuration())
    fleet = Fleet(world)
    try:
        world.start()
        yield fleet
    finally:
        fleet.end()
        world.end()
