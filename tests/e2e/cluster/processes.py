"""Nodes as processes, run and asked by the command line as a user would."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

from moreton.cli.cluster import looking
from moreton.kernel.errors import MoretonError
from moreton.store.raft.operating import Operator
from support.ports import free_port
from support.preloaded import Preloaded, run, start

SECONDS_MAX = 60.0


class NodeProcess:
    """`moreton cluster run` of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.log")
        self._child: Preloaded | None = None

    def start(self) -> None:
        arguments = ["cluster", "run", str(self.folder)]
        self._child = start(arguments, folder=Path.cwd(), out=self.log, err=self.log)

    @property
    def child(self) -> Preloaded:
        assert self._child is not None
        return self._child

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    async def wait_ended(self) -> int:
        return await asyncio.to_thread(self.child.wait, SECONDS_MAX)

    def kill(self) -> None:
        """As `kill -9`, also of one that is stopped."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(30)


class Cluster:
    """Folders and processes of nodes under *folder*, by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: dict[int, NodeProcess] = {}
        self.addresses: dict[int, str] = {}

    def path(self, number: int) -> Path:
        return self.folder / f"node{number}"

    async def init(self) -> dict[str, Any]:
        self.addresses[1] = f"127.0.0.1:{free_port()}"
        return await self.ok("init", str(self.path(1)), "--address", self.addresses[1])

    async def join(self, number: int, *, member: int = 1) -> dict[str, Any]:
        """The folder of one more node; it does not run yet."""
        self.addresses[number] = f"127.0.0.1:{free_port()}"
        where = ["--address", self.addresses[number], "--member", self.addresses[member]]
        secret = ["--secret-file", str(self.path(1) / "secret")]
        return await self.ok("join", str(self.path(number)), *where, *secret)

    def run(self, number: int) -> NodeProcess:
        node = self.nodes.setdefault(number, NodeProcess(self.path(number)))
        node.start()
        return node

    async def status(self, at: int = 1) -> dict[str, Any]:
        """What `moreton cluster status` shows, asked by this process: it is asked often."""
        try:
            survey = await Operator(self.path(at)).survey()
        except MoretonError as error:
            return {"leader": None, "nodes": [], "error": str(error)}
        return looking._whole(survey, [looking._document(survey, each) for each in survey.sights])

    async def until_leads(self, *, at: int = 1, voters: int) -> int:
        """Who leads, once so many nodes that are reached vote and have all."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                found = await self.status(at)
                voting = [
                    one
                    for one in found["nodes"]
                    if one["reachable"] and one["role"] in {"leader", "follower"} and not one["lag"]
                ]
                if found["leader"] is not None and len(voting) == voters:
                    leader = found["leader"]
                    assert isinstance(leader, int)
                    return leader
                await asyncio.sleep(0.02)

    async def ok(self, *arguments: str) -> dict[str, Any]:
        """The JSON that a command of the cluster prints."""
        status, out, err = await command(*arguments, "--json")
        assert status == 0, err
        found = json.loads(out)
        assert isinstance(found, dict)
        return found

    def kill_all(self) -> None:
        for node in self.nodes.values():
            node.kill()


async def command(*arguments: str) -> tuple[int, str, str]:
    """Exit status and outputs of `moreton cluster`."""
    ended = await asyncio.to_thread(
        run, ["cluster", *arguments], folder=Path.cwd(), timeout=SECONDS_MAX, COLUMNS="200"
    )
    return ended.returncode, ended.stdout, ended.stderr
