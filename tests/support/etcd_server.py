"""A real etcd of its own folder and ports; the tests that need one say so where there is none."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.debian import need
from support.ports import free_port

DEADLINE_SECONDS = 30.0
# Small, so that the least time to live of a lease is one second; bcrypt as fast as it can be.
_SETTINGS = ("--heartbeat-interval=50", "--election-timeout=500", "--bcrypt-cost=4")
_TRIES = 5


def need_etcd() -> None:
    """Skip the test, loudly, where there is no etcd; fail it in CI, which must have one."""
    need("etcd", "etcd-server")


@dataclass
class EtcdServer:
    """One member. *cluster*: the name and peer port of each member, itself included."""

    folder: Path
    name: str = "one"
    port: int = 0
    peer_port: int = 0
    cluster: Mapping[str, int] = field(default_factory=dict)
    settings: Sequence[str] = ()
    scheme: str = "http"
    child: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        self.peer_port = self.peer_port or free_port()

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"127.0.0.1:{self.port}"

    def url(self, prefix: str = "", **options: str) -> str:
        """The store's URL."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"etcd://{self.address}/{prefix}" + (f"?{query}" if query else "")

    def spawn(self) -> None:
        """Start the process; do not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        peers = self.cluster or {self.name: self.peer_port}
        client, peer = f"{self.scheme}://{self.address}", f"http://127.0.0.1:{self.peer_port}"
        initial = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in peers.items())
        arguments = {
            "name": self.name,
            "data-dir": self.folder / "data",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": initial,
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in arguments.items())]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with (self.folder / "etcd.log").open("ab") as log:
            self.child = subprocess.Popen(
                [*command, *_SETTINGS, *self.settings], stdout=log, stderr=log, env=environment
            )

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.spawn()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return once it has a leader and answers."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not self._is_ready():
            assert self.child is not None
            assert self.child.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.01)

    def kill(self) -> None:
        """As `kill -9`."""
        assert self.child is not None
        self.child.kill()
        self.child.wait(30)

    def restart(self) -> None:
        """Kill it, if it runs, and start it on the same data and ports."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it hang: it takes connections and answers nothing."""
        assert self.child is not None
        self.child.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End `pause`."""
        assert self.child is not None
        self.child.send_signal(signal.SIGCONT)

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        """An answer of the gateway, asked without our own client."""
        request = urllib.request.Request(
            f"http://{self.address}/v3/{path}", data=json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            found = json.loads(answer.read())
        assert isinstance(found, dict)
        return found

    def revoke_leases(self) -> None:
        """Leave no lease that would end during another test, and make a revision there."""
        for lease in self.call("lease/leases").get("leases", ()):
            with contextlib.suppress(urllib.error.HTTPError):
                self.call("lease/revoke", ID=lease["ID"])

    def log(self) -> str:
        """What it printed."""
        return (self.folder / "etcd.log").read_text(errors="replace")[-4000:]

    def _is_ready(self) -> bool:
        if self.scheme == "https":
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 5),
            ):
                return "ready to serve client requests" in self.log() or "serving" in self.log()
            return False
        with contextlib.suppress(OSError, ValueError):
            return "leader" in self.call("maintenance/status")
        return False


@contextlib.contextmanager
def running_etcd(folder: Path, *settings: str) -> Iterator[EtcdServer]:
    """An etcd of one member; gone at the end."""
    need_etcd()
    for attempt in range(_TRIES):
        server = EtcdServer(folder / f"etcd{attempt}", settings=settings)
        server.spawn()
        try:
            server.wait_ready()
            break
        except AssertionError:
            # Another program took one of the ports meanwhile.
            server.kill()
            if "address already in use" not in server.log() or attempt == _TRIES - 1:
                raise
    try:
        yield server
    finally:
        server.go_on()
        server.kill()


@contextlib.contextmanager
def running_cluster(folder: Path, size: int = 3) -> Iterator[list[EtcdServer]]:
    """Members of one etcd; gone at the end."""
    need_etcd()
    peers = {f"m{number}": free_port() for number in range(size)}
    members = [
        EtcdServer(folder / name, name=name, peer_port=port, cluster=peers)
        for name, port in peers.items()
    ]
    try:
        for member in members:
            member.spawn()
        for member in members:
            member.wait_ready()
        yield members
    finally:
        for member in members:
            if member.child is not None:
                member.go_on()
                member.kill()
