"""Transports of one cluster on loopback, and what arrives at each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from moreton.consensus.core.messages import AppendEntries, Entry, Heartbeat, Message, NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.ports import Arrivals
from moreton.consensus.transport import Credentials, TcpTransport, TransportSettings
from moreton.kernel.time import Clock
from moreton.resilience import Backoff

T = TypeVar("T")
DEADLINE_SECONDS = 5.0
SECRET = b"a secret of sixteen bytes or more"
CREDENTIALS = Credentials("forest", SECRET)
# Everything in a tenth of the usual time, but for what a busy machine may need.
SETTINGS = TransportSettings(
    ping_interval=timedelta(milliseconds=50),
    removal_delay=timedelta(milliseconds=100),
    backoff=Backoff(initial=timedelta(milliseconds=5), cap=timedelta(milliseconds=50)),
)


async def within(work: Awaitable[T], seconds: float = DEADLINE_SECONDS) -> T:
    async with asyncio.timeout(seconds):
        return await work


class Peer:
    """One node's transport; what it is told waits in queues."""

    def __init__(
        self,
        node: NodeId,
        credentials: Credentials = CREDENTIALS,
        *,
        listen: str = "127.0.0.1:0",
        advertise: str = "",
        settings: TransportSettings = SETTINGS,
        clock: Clock | None = None,
    ) -> None:
        self.node = node
        self.asked = 0
        self.messages: asyncio.Queue[tuple[Message, bytes | None]] = asyncio.Queue()
        self.losses: asyncio.Queue[NodeId] = asyncio.Queue()
        self.snapshots: asyncio.Queue[tuple[NodeId, bool]] = asyncio.Queue()
        self.troubles: asyncio.Queue[tuple[NodeId, ConsensusError]] = asyncio.Queue()
        self.answer: Callable[[NodeId, bytes], Awaitable[bytes]] = self._echo
        self.transport = TcpTransport(
            node,
            credentials,
            listen,
            advertise=advertise,
            settings=settings,
            clock=clock,
            report=lambda node, error: self.troubles.put_nowait((node, error)),
        )

    async def start(self) -> None:
        await self.transport.start(
            Arrivals(
                message=lambda message, data: self.messages.put_nowait((message, data)),
                snapshot_sent=lambda node, sent: self.snapshots.put_nowait((node, sent)),
                unreachable=self.losses.put_nowait,
                question=self._respond,
            )
        )

    @property
    def address(self) -> str:
        return self.transport.address

    def heartbeat(self, target: NodeId, number: int) -> Heartbeat:
        return Heartbeat(source=self.node, target=target, term=1, commit=0, round=number)

    def append(self, target: NodeId, data: bytes, index: int = 1) -> AppendEntries:
        entries = (Entry(1, index, data=data),)
        return AppendEntries(
            source=self.node, target=target, term=1, prev_index=0, prev_term=0, entries=entries
        )

    async def next_message(self) -> Message:
        message, _ = await within(self.messages.get())
        return message

    async def next_trouble(self, code: str) -> ConsensusError:
        """The next trouble with *code*; others are passed over."""
        while True:
            _, trouble = await within(self.troubles.get())
            if trouble.code == code:
                return trouble

    async def wait_connected(self, *nodes: NodeId) -> None:
        """Return once messages of each of *nodes* can reach it, and those of this node them."""
        while not set(nodes) <= set(self.transport.statistics().connected):
            await asyncio.sleep(0.005)

    async def _respond(self, node: NodeId, question: bytes) -> bytes:
        self.asked += 1
        return await self.answer(node, question)

    async def _echo(self, node: NodeId, question: bytes) -> bytes:
        return b"%d asked %b" % (node, question)


def ignore_trouble(_node: NodeId, _trouble: ConsensusError) -> None:
    pass


def introduce(*peers: Peer) -> None:
    """Tell each of *peers* of all."""
    addresses = {peer.node: peer.address for peer in peers}
    for peer in peers:
        peer.transport.set_peers(addresses)


@contextlib.asynccontextmanager
async def running(*peers: Peer) -> AsyncIterator[Sequence[Peer]]:
    """*peers*, started, that know each other; closed at the end, with nothing left over."""
    before = asyncio.all_tasks()
    try:
        for peer in peers:
            await peer.start()
        introduce(*peers)
        yield peers
    finally:
        for peer in peers:
            await within(peer.transport.close())
        # A handshake of TLS that has just begun ends a few turns later. With others around, their
        # tasks come and go.
        if len(before) == 1:
            await within(_wait_ended(before))


async def _wait_ended(before: set[asyncio.Task[object]]) -> None:
    while asyncio.all_tasks() - before:
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
