"""Three nodes of each system on this machine, as processes that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import need, stop
from moreton.kernel.ports import free_port
from moreton.store.raft.folder import NodeFolder
from moreton.store.raft.operating.making import join_cluster, make_first

NODES = (1, 2, 3)
_READY_SECONDS_MAX = 30.0


@dataclass
class Cluster:
    """Three nodes; a subclass says how one is started."""

    folder: Path
    name: str = ""
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in NODES])
    peer_ports: list[int] = field(default_factory=lambda: [free_port() for _ in NODES])
    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def command(self, node: int) -> Sequence[str]:
        """How *node* is started."""
        raise NotImplementedError

    def start(self, *nodes: int) -> None:
        """Start *nodes* on whatever they left on disk; do not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        for node in nodes:
            with (self.folder / f"{node}.log").open("ab") as log:
                self.children[node] = subprocess.Popen(
                    list(self.command(node)), stdout=log, stderr=log, env=environment
                )

    def wait_leader(self, *nodes: int) -> int:
        """The leader, once all of *nodes* name the same one."""
        until = time.monotonic() + _READY_SECONDS_MAX
        while time.monotonic() < until:
            found = {self.leader(node) for node in nodes}
            if len(found) == 1 and (leader := found.pop()):
                return leader
            time.sleep(0.05)
        logs = {node: (self.folder / f"{node}.log").read_text()[-2000:] for node in nodes}
        raise RuntimeError(f"{self.name} has no leader:\n{logs}")

    def leader(self, node: int) -> int | None:
        """Whom *node* takes for the leader."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            return self.node_of(self.call(node, "maintenance/status"))
        return None

    def node_of(self, status: dict[str, Any]) -> int | None:
        """The leader that *status* names."""
        return int(status["leader"]) or None

    def call(self, node: int, path: str, seconds: float = 2.0, **body: str) -> dict[str, Any]:
        """What the gateway of *node* answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[node - 1], timeout=seconds)
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(body))
            answer = connection.getresponse()
            found = json.loads(answer.read())
            if answer.status != 200 or not isinstance(found, dict):
                raise ValueError(f"{self.name} answers {answer.status}: {found}")
            return found
        finally:
            connection.close()

    def kill(self, node: int) -> None:
        """As `kill -9`."""
        self.children[node].kill()
        self.children.pop(node).wait()

    def stop(self) -> None:
        """End every node."""
        for child in self.children.values():
            stop(child, 3.0)
        self.children.clear()


@dataclass
class MoretonCluster(Cluster):
    """Nodes as `moreton cluster init` and `join` make them, with their defaults."""

    name: str = "moreton"

    def command(self, node: int) -> Sequence[str]:
        module = "bench.consensus.moreton_node"
        return [sys.executable, "-m", module, str(self._path(node)), str(self.ports[node - 1])]

    def start(self, *nodes: int) -> None:
        for node in nodes:
            if not self._path(node).exists():
                asyncio.run(self._make(node))
            super().start(node)
            if node == 1:
                self.wait_leader(1)

    async def _make(self, node: int) -> None:
        first, address = self._path(1), f"127.0.0.1:{self.peer_ports[node - 1]}"
        if node == 1:
            make_first(first, address)
        else:
            member = f"127.0.0.1:{self.peer_ports[0]}"
            await join_cluster(self._path(node), address, member, NodeFolder(first).secret())

    def _path(self, node: int) -> Path:
        return self.folder / str(node)


@dataclass
class PySyncObjCluster(Cluster):
    """Nodes that are a module of this benchmark; *options* are that module's."""

    name: str = "pysyncobj"
    options: Sequence[str] = ()

    def command(self, node: int) -> Sequence[str]:
        module = "bench.consensus.pysyncobj_node"
        numbers = [str(each) for each in (node, self.ports[node - 1], *self.peer_ports)]
        return [sys.executable, "-m", module, str(self.folder / str(node)), *numbers, *self.options]


@dataclass
class EtcdCluster(Cluster):
    """Debian's etcd with its defaults; only addresses and folders are given."""

    name: str = "etcd"
    members: dict[str, int] = field(default_factory=dict)

    def command(self, node: int) -> Sequence[str]:
        client = f"http://127.0.0.1:{self.ports[node - 1]}"
        peers = {each: f"http://127.0.0.1:{self.peer_ports[each - 1]}" for each in NODES}
        arguments = {
            "name": f"n{node}",
            "data-dir": self.folder / str(node),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peers[node],
            "initial-advertise-peer-urls": peers[node],
            "initial-cluster": ",".join(f"n{each}={url}" for each, url in peers.items()),
        }
        return [need("etcd"), *(f"--{name}={value}" for name, value in arguments.items())]

    def node_of(self, status: dict[str, Any]) -> int | None:
        """By member ids, which each member knows of itself only."""
        for node in self.children:
            if str(node) not in self.members:
                with contextlib.suppress(OSError, ValueError):
                    header = self.call(node, "maintenance/status")["header"]
                    self.members[str(node)] = int(header["member_id"])
        leader = int(status.get("leader", 0))
        return next((int(n) for n, member in self.members.items() if member == leader), None)
