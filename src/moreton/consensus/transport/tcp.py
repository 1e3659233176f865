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
from moreton.consensus.transport.connection import Connection, OnItem
from moreton.consensus.transport.core.encoding import encode_message
from moreton.consensus.transport.core.handshake import Channel, Hello
from moreton.consensus.transport.errors import (
    AddressOfAnother,
    NodeClaimedTwice,
    OtherCluster,
    OtherVersion,
    PeerUnreachable,
    TooLargeToSend,
    WrongSecret,
)
from moreton.consensus.transport.link import Link, ignore_item
from moreton.consensus.transport.meeting.answering import Answerer
from moreton.consensus.transport.meeting.dialing import Place, dial
from moreton.consensus.transport.meeting.identity import Identity
from moreton.consensus.transport.places import Places
from moreton.consensus.transport.questions import Asker
from moreton.consensus.transport.reception import Reception
from moreton.consensus.transport.settings import (
    Credentials,
    TransportSettings,
    split_address,
)
from moreton.consensus.transport.snapshots import send_snapshot
from moreton.consensus.transport.troubles import Troubles
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, SystemClock

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
        self._places = Places(node, self._cut_off, delay=self._settings.removal_delay)
        self._answerer = Answerer(
            self._identity, is_removed=self._places.is_removed, accept=self._accept
        )
        self._reception = Reception(node, self._told, settings=self._settings, guests=guests)
        self._arrivals: Arrivals | None = None
        self._rng = system_rng()
        self._links: dict[NodeId, Link] = {}
        self._askers: dict[NodeId, Asker] = {}
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
        """Who belongs to the cluster now, and where: `host:port`. Others are soon cut off."""
        is_new = self._node not in self._places.members
        moved = self._places.set_members(addresses, running=self._arrivals is not None)
        if self._arrivals is None:
            return
        for node in moved:
            if node in self._links:
                self._links[node].renew()
        self._follow_addresses(probe=is_new or self._node in moved)

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
        if not self._places.address(target):
            raise PeerUnreachable(target=target, address="", reason="nobody told where it is")
        asker = self._askers.get(target)
        if asker is None:
            reach = partial(self._dial, target, Channel.QUESTIONS)
            asker = self._askers[target] = Asker(target, reach, settings=self._settings)
        return await asker.ask(question)

    async def close(self) -> None:
        """Send what is queued, for a moment, and stop."""
        self._places.close()
        await self._answerer.close()
        await self._reception.close()
        tasks = [*self._snapshots.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(
            *self._closing,
            *(link.close() for link in self._links.values()),
            *(asker.close() for asker in self._askers.values()),
        )
        self._links.clear()

    # --- who is where -------------------------------------------------------------------------

    def _follow_addresses(self, *, probe: bool = True) -> None:
        members = self._places.members
        for node in members:
            if node != self._node:
                self._link(node)
        if probe and self._node in members:
            self._spawn(self._probe_itself(members[self._node]))

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

    def _cut_off(self, node: NodeId) -> None:
        self._answerer.cut_off(node)
        self._forget(node)

    def _forget(self, node: NodeId) -> None:
        for part in (self._links.pop(node, None), self._askers.pop(node, None)):
            if part is not None:
                self._spawn(part.close(), self._closing)
        snapshot = self._snapshots.pop(node, None)
        if snapshot is not None:
            snapshot.cancel()

    async def _dial(self, node: NodeId, channel: Channel, on_item: OnItem) -> Connection:
        place = Place(node, self._places.address(node))
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
            self._meet(node, hello.address, connection)
        return self._reception.open(hello, connection)

    def _meet(self, node: NodeId, address: str, connection: Connection) -> None:
        """*node* lives. If nobody told of it yet, answers go where it says that it is.

        A node may be behind in the log and hear from a leader that joined since (section 4.1).
        """
        if self._places.introduce(node, address):
            self._spawn(self._forget_introduced(node, connection))
        if self._places.address(node):
            self._link(node).kick()

    async def _forget_introduced(self, node: NodeId, connection: Connection) -> None:
        await connection.wait_closed()
        if self._places.forget_introduced(node):
            self._forget(node)

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
