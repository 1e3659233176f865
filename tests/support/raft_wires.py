"""The network between nodes that are processes: a proxy before each, which cuts who from whom."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from moreton.consensus.transport.core.handshake import decode_hello
from moreton.consensus.transport.errors import BadFrame

Pair = tuple[int, int]


class Wires:
    """Carries what nodes dial; nothing passes on a connection whose pair is cut.

    Neither side hears that: as when a cable is pulled, not as when a process ends.
    """

    def __init__(self) -> None:
        self.held = 0  # pieces that a cut held up: it did happen
        self._cuts: frozenset[Pair] = frozenset()
        self._changed = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def before(self, node: int, port: int) -> int:
        """A port that leads to *node*, which listens at *port*."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._carry(node, port, reader, writer)
            except asyncio.CancelledError:
                # By `close`; the streams of Python 3.11 report it as an error otherwise.
                writer.close()
            finally:
                self._tasks.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._servers.append(server)
        found: int = server.sockets[0].getsockname()[1]
        return found

    def cut(self, pairs: Iterable[Pair]) -> None:
        """Let nothing pass on what the first node of a pair dials to the second."""
        self._set(self._cuts | frozenset(pairs))

    def isolate(self, node: int, others: Iterable[int]) -> None:
        """Cut *node* off, both ways."""
        self.cut(pair for other in others for pair in ((node, other), (other, node)))

    def heal(self) -> None:
        """End all cuts; what was held up arrives."""
        self._set(frozenset())

    async def close(self) -> None:
        """Hang up everywhere."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _set(self, cuts: frozenset[Pair]) -> None:
        self._cuts = cuts
        self._changed.set()
        self._changed = asyncio.Event()

    async def _carry(
        self, node: int, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        back: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError, EOFError):
            length = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(length, "little"))
            pair = (_source(body), node)
            await self._wait_open(pair)
            answers, back = await asyncio.open_connection("127.0.0.1", port)
            back.write(length + body)
            there = asyncio.create_task(self._pump(pair, reader, back))
            here = asyncio.create_task(self._pump(pair, answers, writer))
            try:
                # Whichever side ends, the other is told: that is how a process's end looks.
                await asyncio.wait({there, here}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                here.cancel()
                await asyncio.gather(there, here, return_exceptions=True)
        for one in (writer, back):
            if one is not None:
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pump(
        self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._wait_open(pair)
                writer.write(data)
                await writer.drain()
        await self._wait_open(pair)

    async def _wait_open(self, pair: Pair) -> None:
        while pair in self._cuts:
            self.held += 1
            await self._changed.wait()


def _source(body: bytes) -> int:
    """Who says so hello; 0 if it is none."""
    try:
        hello = decode_hello(body)
    except BadFrame:
        return 0
    return hello.party.node if hasattr(hello, "party") else 0
