"""Three nodes as processes on loopback, which can be killed, stopped and cut off."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from moreton.store.raft.folder import NodeFolder
from moreton.store.raft.operating.making import join_cluster, make_first
from support.ports import free_port
from support.raft_wires import Wires

PROGRAM = Path(__file__).parents[1] / "e2e" / "consensus" / "node_program.py"
NODES = (1, 2, 3)
SECONDS_MAX = 30.0


class Unsure(Exception):
    """A request was sent and not answered."""


class Processes:
    """A cluster of three; clients ask it by `ask`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.wires = Wires()
        self.children: dict[int, asyncio.subprocess.Process] = {}
        self._ports: dict[int, int] = {}

    async def make(self) -> None:
        """Found the cluster, and let the others join."""
        for node in NODES:
            port = free_port()
            address = f"127.0.0.1:{await self.wires.before(node, port)}"
            listen = f"127.0.0.1:{port}"
            path = self._folder / str(node)
            if node == 1:
                make_first(path, address, listen=listen)
                first = address
            else:
                secret = NodeFolder(self._folder / "1").secret()
                await join_cluster(path, address, first, secret, listen=listen)
            await self.start(node)
            if node == 1:
                await self.wait_leader([1])
        await self.wait_voters()

    async def start(self, node: int) -> None:
        """Start *node* on what it has on its disk."""
        with (self._folder / f"{node}.log").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                str(PROGRAM),
                str(self._folder / str(node)),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self.children[node] = child
        assert child.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            line = await child.stdout.readline()
        assert line, self.log(node)
        self._ports[node] = int(line)

    async def kill(self, node: int) -> None:
        """As `kill -9`."""
        child = self.children.pop(node)
        child.kill()
        assert await asyncio.wait_for(child.wait(), SECONDS_MAX) == -signal.SIGKILL, self.log(node)

    def stop(self, node: int) -> None:
        """As `kill -STOP`: it keeps its connections and answers nothing."""
        self.children[node].send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{self.children[node].pid}/stat")
        until = time.monotonic() + SECONDS_MAX
        while state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < until, "it does not stop"

    def go_on(self, node: int) -> None:
        """End `stop`."""
        self.children[node].send_signal(signal.SIGCONT)

    async def ask(
        self, node: int, seconds: float = 3.0, *, sent: asyncio.Event | None = None, **asked: Any
    ) -> dict[str, Any]:
        """What *node* answers. Raises `OSError` if it was not reached, `Unsure` if it was.

        *sent* is set once the question waits for *node*.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[node])
        try:
            writer.write(json.dumps(asked).encode() + b"\n")
            if sent is not None:
                sent.set()
            async with asyncio.timeout(seconds):
                line = await reader.readline()
            answer = json.loads(line)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise Unsure(str(error)) from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        assert isinstance(answer, dict)
        return answer

    async def status(self, node: int) -> dict[str, Any]:
        """How *node* sees things; empty if it does not answer."""
        with contextlib.suppress(OSError, Unsure):
            return await self.ask(node, 1.0, op="status")
        return {}

    async def wait_leader(self, nodes: Sequence[int]) -> int:
        """The leader, once all of *nodes* name the same one among them."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                found = [(await self.status(node)).get("leader") for node in nodes]
                leader = found[0]
                if isinstance(leader, int) and leader in nodes and len(set(found)) == 1:
                    return leader
                await asyncio.sleep(0.02)

    async def wait_voters(self) -> None:
        """Return once every node knows that all three may vote."""
        async with asyncio.timeout(SECONDS_MAX):
            for node in NODES:
                while (await self.status(node)).get("voters") != list(NODES):
                    await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Nothing is left."""
        for node in list(self.children):
            self.go_on(node)
            with contextlib.suppress(ProcessLookupError):
                self.children[node].kill()
            await asyncio.wait_for(self.children.pop(node).wait(), SECONDS_MAX)
        await self.wires.close()

    def log(self, node: int) -> str:
        """What *node* printed."""
        return (self._folder / f"{node}.log").read_text(errors="replace")[-4000:]


@contextlib.asynccontextmanager
async def running_processes(folder: Path) -> AsyncIterator[Processes]:
    """Three voters; gone at the end."""
    processes = Processes(folder)
    try:
        await processes.make()
        yield processes
    finally:
        await processes.end()
