"""The transport of a cluster's nodes over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from moreton.consensus.core.messages import InstallSnapshot, Message, NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.ports import Arrivals
from moreton.consensus.transport.answering import Answerer
from moreton.consensus.transport.connection import Connection, OnItem
from moreton.consensus.transport.core.encoding import decode_message, encode_message
from moreton.consensus.transport.core.handshake import Channel, Hello
from moreton.consensus.transport.dialing import Place, dial
from moreton.consensus.transport.errors import (
    AddressOfAnother,
    NodeClaimedTwice,
    OtherCluster,
    OtherVersion,
    PeerUnreachable,
    QuestionFailed,
    TooLargeToSend,
    WrongSecret,
)
from moreton.consensus.transport.identity import Identity
from moreton.consensus.transport.link import Link, ignore_item
from moreton.consensus.transport.questions import Answer, Asker, Desk
from moreton.consensus.transport.settings import (
    Credentials,
    TransportSettings,
    split_address,
)
from moreton.consensus.transport.snapshots import Receipt, send_snapshot
from moreton.consensus.transport.troubles import Troubles
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, SystemClock

# Nodes that prove themselves and that this node was not told of yet.
_INTRODUCED_MAX = 16
_NODES_END = 1 << 64


# Who answers where this node should.
_STRANGERS: Mapping[type[ConsensusError], str] = {
    OtherCluster: "a node of another cluster",
    WrongSecret: "a node with another cluster secret",
    OtherVersion: "something that is no node",
}


@dataclass(frozen=True, slots=True)
class TransportStatistics:
    """What went to other nodes so far, and who is connected."""

    sent: int
    dropped: int
    refused: int  # connections that did not prove themselves
    connected: tuple[NodeId, ...]  # to whom messages can go


class TcpTransport:
    """Carries messages between the nodes of one cluster; a `Transport`.

    *listen* is `host:port`; *advertise* is what others dial, if that differs. *report* is told of
    each trouble with a node as it begins: a wrong secret, an id used twice, a clock far off.
    *guests* answers those who know the secret and are no members: see `ask_as_guest`.

    Raises `ValueError`, `CredentialsUnusable`.
    """

    def __init__(
        self,
        node: NodeId,
        credentials: Credentials,
        listen: str,
        *,
        advertise: str = "",
        settings: TransportSettings | None = None,
        clock: Clock | None = None,
        report: Callable[[NodeId, ConsensusError], None] | None = None,
        guests: Callable[[bytes], Awaitable[bytes]] | None = None,
    ) -> None:
        if type(node) is not int or not 1 <= node < _NODES_END:
            raise ValueError(f"node {node!r}: give a number of 1 or more, in 64 bits")
        if advertise:
            split_address(advertise)
        self._node = node
        self._guests = guests
        self._settings = settings or TransportSettings()
        self._clock = clock or SystemClock()
        self._troubles = Troubles(self._clock, report)
        self._identity = Identity(
            node,
            credentials,
            settings=self._settings,
            clock=self._clock,
            report=self._troubles.note,
        )
        self._listen = listen
        self._advertise = advertise
        self._answerer = Answerer(self._identity, is_removed=self._is_removed, accept=self._accept)
        self._arrivals: Arrivals | None = None
        self._rng = system_rng()
        self._addresses: dict[NodeId, str] = {}
        self._introduced: dict[NodeId, str] = {}
        self._leaving: dict[NodeId, asyncio.TimerHandle] = {}
        self._removed: set[NodeId] = set()
        self._links: dict[NodeId, Link] = {}
        self._askers: dict[NodeId, Asker] = {}
        self._desks: set[Desk] = set()
        self._snapshots: dict[NodeId, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where others reach this node; known once it has started."""
        return self._identity.address

    def troubles(self) -> Mapping[NodeId, list[ConsensusError]]:
        """What stood in the way of talking to each node within the last minute."""
        return self._troubles.recent()

    def statistics(self) -> TransportStatistics:
        """What was done so far."""
        links = self._links
        return TransportStatistics(
            sent=sum(link.sent for link in links.values()),
            dropped=sum(link.dropped for link in links.values()),
            refused=self._answerer.refused,
            connected=tuple(sorted(node for node, link in links.items() if link.is_up)),
        )

    async def start(self, arrivals: Arrivals) -> None:
        """Listen and connect. Raises `CannotListen`."""
        self._arrivals = arrivals
        found = await self._answerer.listen(self._listen)
        self._identity.address = self._advertise or found
        self._follow_addresses()

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Who belongs to the cluster now, and where: `host:port`. Others are cut off, in a while.

        A node that starts goes through the memberships of its log, in which others are missing
        that joined later: nobody shall be told for that to have been removed.
        """
        before, self._addresses = self._addresses, dict(addresses)
        known = {**self._introduced, **before}
        moved = [node for node, at in addresses.items() if known.get(node, at) != at]
        self._removed -= addresses.keys()
        for node in addresses:
            self._introduced.pop(node, None)
            if (timer := self._leaving.pop(node, None)) is not None:
                timer.cancel()
        if self._arrivals is None:
            return
        for node in before.keys() - addresses.keys() - {self._node}:
            self._leave(node, before[node])
        for node in moved:
            if node in self._links:
                self._links[node].renew()
        self._follow_addresses(probe=self._node in moved or self._node not in before)

    def send_nowait(self, message: Message) -> None:
        """Send *message* soon; it is dropped when its target's queue is full or unreachable."""
        target = message.target
        assert message.source == self._node, "a node speaks for itself alone"
        link = self._links.get(target)
        if link is None:
            self._later(partial(self._told().unreachable, target))
            return
        item = encode_message(message)
        if len(item) > self._settings.message_bytes_max:
            limit = self._settings.message_bytes_max
            error = TooLargeToSend(target=target, what="a message", size=len(item), limit=limit)
            self._troubles.note(target, error)
            return
        link.send_nowait(item)

    def send_snapshot_nowait(self, message: InstallSnapshot, data: bytes) -> None:
        """Send *message* with *data*, beside the other messages; says `snapshot_sent`.

        A snapshot for the same node that is still on its way is given up for this one.
        """
        target = message.target
        previous = self._snapshots.get(target)
        if previous is not None:
            previous.cancel()
        task = asyncio.create_task(self._send_snapshot(message, data))
        self._snapshots[target] = task

    async def ask(self, target: NodeId, question: bytes) -> bytes:
        """What *target* answers. Raises a `ConsensusError` if it cannot be reached."""
        if not self._address_of(target):
            raise PeerUnreachable(target=target, address="", reason="nobody told where it is")
        asker = self._askers.get(target)
        if asker is None:
            reach = partial(self._dial, target, Channel.QUESTIONS)
            asker = self._askers[target] = Asker(target, reach, settings=self._settings)
        return await asker.ask(question)

    async def close(self) -> None:
        """Send what is queued, for a moment, and stop."""
        for timer in self._leaving.values():
            timer.cancel()
        await self._answerer.close()
        tasks = [*self._snapshots.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(
            *self._closing,
            *(link.close() for link in self._links.values()),
            *(asker.close() for asker in self._askers.values()),
            *(desk.close() for desk in list(self._desks)),
        )
        self._links.clear()

    # --- who is where -------------------------------------------------------------------------

    def _follow_addresses(self, *, probe: bool = True) -> None:
        for node in self._addresses:
            if node != self._node:
                self._link(node)
        if probe and self._node in self._addresses:
            self._spawn(self._probe_itself(self._addresses[self._node]))

    def _link(self, node: NodeId) -> Link:
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = Link(
                partial(self._dial, node, Channel.MESSAGES, ignore_item),
                partial(self._told().unreachable, node),
                settings=self._settings,
                rng=self._rng,
            )
        return link

    def _leave(self, node: NodeId, address: str) -> None:
        # Until then it is heard like one that nobody was told of.
        self._introduced[node] = address
        seconds = self._settings.removal_delay.total_seconds()
        loop = asyncio.get_running_loop()
        self._leaving[node] = loop.call_later(seconds, self._remove, node)

    def _remove(self, node: NodeId) -> None:
        del self._leaving[node]
        self._introduced.pop(node, None)
        self._removed.add(node)
        self._answerer.cut_off(node)
        self._forget(node)

    def _forget(self, node: NodeId) -> None:
        for part in (self._links.pop(node, None), self._askers.pop(node, None)):
            if part is not None:
                self._spawn(part.close(), self._closing)
        snapshot = self._snapshots.pop(node, None)
        if snapshot is not None:
            snapshot.cancel()

    def _address_of(self, node: NodeId) -> str:
        return self._addresses.get(node) or self._introduced.get(node, "")

    def _is_removed(self, node: NodeId) -> bool:
        return node in self._removed

    async def _dial(self, node: NodeId, channel: Channel, on_item: OnItem) -> Connection:
        place = Place(node, self._address_of(node))
        try:
            connection = await dial(self._identity, place, channel, on_item)
        except ConsensusError as error:
            if place.address:
                self._troubles.note(node, error)
            raise
        self._troubles.clear(node)
        return connection

    async def _probe_itself(self, address: str) -> None:
        """Report it if the *address* that others are told does not lead here."""
        try:
            connection = await self._dial_itself(address)
        except (AddressOfAnother, NodeClaimedTwice) as error:
            self._troubles.note(self._node, error)
        except (OtherCluster, WrongSecret, OtherVersion) as error:
            found = _STRANGERS[type(error)]
            trouble = AddressOfAnother(target=self._node, address=address, found=found)
            self._troubles.note(self._node, trouble)
        except ConsensusError:
            # Some networks let nobody dial itself from inside; the others will see.
            return
        else:
            connection.close()

    async def _dial_itself(self, address: str) -> Connection:
        place = Place(self._node, address)
        return await dial(self._identity, place, Channel.PROBE, ignore_item)

    # --- what arrives -------------------------------------------------------------------------

    def _accept(self, hello: Hello, connection: Connection) -> OnItem:
        node = hello.party.node
        if node != self._node and hello.channel is not Channel.GUEST:
            self._introduce(node, hello.address, connection)
        match hello.channel:
            case Channel.MESSAGES:
                return partial(self._receive_message, node)
            case Channel.QUESTIONS:
                return self._open_desk(node, connection, self._told().question)
            case Channel.GUEST:
                return self._open_desk(node, connection, self._answer_guest)
            case Channel.SNAPSHOT:
                receipt = Receipt(
                    node, self._node, connection, self._told().message, settings=self._settings
                )
                self._spawn(self._close_receipt(receipt, connection))
                return receipt.receive
            case Channel.PROBE:
                return ignore_item

    def _open_desk(self, node: NodeId, connection: Connection, answer: Answer) -> OnItem:
        desk = Desk(node, connection, answer, settings=self._settings)
        self._desks.add(desk)
        self._spawn(self._close_desk(desk, connection))
        return desk.receive

    async def _answer_guest(self, _: NodeId, question: bytes) -> bytes:
        if self._guests is None:
            raise QuestionFailed(target=self._node, reason="it answers none but members")
        return await self._guests(question)

    def _introduce(self, node: NodeId, address: str, connection: Connection) -> None:
        """*node* lives. If nobody told of it yet, answers go where it says that it is.

        A node may be behind in the log and hear from a leader that joined since (section 4.1).
        """
        known = node in self._addresses or node in self._leaving
        if not known and address and len(self._introduced) < _INTRODUCED_MAX:
            self._introduced[node] = address
            self._spawn(self._forget_introduced(node, connection))
            known = True
        if known:
            self._link(node).kick()

    async def _forget_introduced(self, node: NodeId, connection: Connection) -> None:
        await connection.wait_closed()
        if node not in self._leaving and self._introduced.pop(node, None) is not None:
            self._forget(node)

    def _receive_message(self, node: NodeId, kind: int, body: bytes, start: int, end: int) -> None:
        message = decode_message(kind, body, start, end, source=node, target=self._node)
        self._told().message(message, None)

    async def _close_desk(self, desk: Desk, connection: Connection) -> None:
        await connection.wait_closed()
        self._desks.discard(desk)
        await desk.close()

    async def _close_receipt(self, receipt: Receipt, connection: Connection) -> None:
        await connection.wait_closed()
        receipt.close()

    # --- inside -------------------------------------------------------------------------------

    async def _send_snapshot(self, message: InstallSnapshot, data: bytes) -> None:
        target = message.target
        reach = partial(self._dial, target, Channel.SNAPSHOT)
        try:
            await send_snapshot(message, data, reach, settings=self._settings)
            arrived = True
        except ConsensusError as error:
            self._troubles.note(target, error)
            arrived = False
        if self._snapshots.get(target) is asyncio.current_task():
            del self._snapshots[target]
            self._told().snapshot_sent(target, arrived)

    def _told(self) -> Arrivals:
        assert self._arrivals is not None, "the transport is started before it is used"
        return self._arrivals

    def _spawn(
        self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[None]] | None = None
    ) -> None:
        group = self._tasks if group is None else group
        task = asyncio.create_task(work)
        group.add(task)
        task.add_done_callback(group.discard)

    def _later(self, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(call)
