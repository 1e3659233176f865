"""A member of a Raft cluster, run for real: on a disk, over a network, in an asyncio loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from moreton.consensus.codec import decode_configuration, encode_configuration
from moreton.consensus.core.configuration import (
    ConfigurationChange,
    decode_change,
    encode_change,
)
from moreton.consensus.core.messages import Configuration, NodeId, SnapshotMeta
from moreton.consensus.core.state import Role, Settings
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host.errors import HostClosed, NoLeader, OutcomeUnknown
from moreton.consensus.host.questions import (
    DONE,
    NOT_LEADER,
    Asked,
    decode_error,
    encode_error,
)
from moreton.consensus.host.running import Parts, Running, check_addresses
from moreton.consensus.host.settings import HostSettings, HostStatus
from moreton.consensus.ports import Arrivals, Disk, StateMachine, Transport
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock, SystemClock

T = TypeVar("T")


def _nobody_listens(_term: int, _leader: NodeId | None) -> None:
    pass


class RaftHost:
    """Node *node* of a cluster: proposes, reads and changes members, from whichever node it is.

    It owns *disk* and *transport* from `start` to `close`, and drives *machine* in the event loop.
    *addresses* say where members are, as far as this node is configured with them; what the log
    says comes first. *settings* are Raft's and the same on all nodes; *bounds* are this host's.
    *on_leader* is called in the event loop with the term and its leader, or `None` while none is
    known: also when this node fails. *answer* answers `ask_leader` while this node leads.

    All calls come from the loop that called `start`. Each ends *within* the time that it is
    given, else within the bounds' `timeout`, and raises a `ConsensusError`.
    """

    def __init__(  # noqa: PLR0913 - what it is made of, and each may be exchanged
        self,
        node: NodeId,
        *,
        disk: Disk,
        transport: Transport,
        machine: StateMachine,
        addresses: Mapping[NodeId, str],
        settings: Settings | None = None,
        bounds: HostSettings | None = None,
        clock: Clock | None = None,
        rng: Rng | None = None,
        on_leader: Callable[[int, NodeId | None], None] = _nobody_listens,
        answer: Callable[[NodeId, bytes], Awaitable[bytes]] | None = None,
    ) -> None:
        check_addresses(node, addresses)
        self._node = node
        self._parts = Parts(
            disk=disk,
            transport=transport,
            machine=machine,
            addresses=dict(addresses),
            settings=settings or Settings(),
            bounds=bounds or HostSettings(),
            clock=clock or SystemClock(),
            rng=rng or system_rng(),
            on_leader=on_leader,
        )
        self._answer = answer
        self._running: Running | None = None

    async def start(self) -> None:
        """Load the disk, restore its snapshot, listen, and take part.

        Raises what the disk and the transport raise; then nothing runs, and both are closed.
        """
        if self._running is not None:
            raise RuntimeError(f"node {self._node} was started already: make another host")
        parts = self._parts
        try:
            loaded = await asyncio.to_thread(parts.disk.load)
            running = Running((self._node, secrets.randbits(64)), loaded, parts)
        except BaseException:
            await asyncio.to_thread(parts.disk.close)
            raise
        self._running = running
        try:
            await parts.transport.start(
                Arrivals(
                    message=running.message,
                    snapshot_sent=running.snapshot_sent,
                    unreachable=running.unreachable,
                    question=self._on_question,
                )
            )
            running.driver.begin()
            self._open()
        except BaseException:
            await self.close()
            raise

    async def propose(self, command: bytes, *, within: timedelta | None = None) -> object:
        """What the state machine's `apply` returned here, once *command* is committed.

        It is applied at most once, however often it had to be sent. Raises `NoLeader` or
        `Overloaded` if it was not and never will be, `OutcomeUnknown` if nobody knows.
        """
        running = self._open()
        _check_bytes(command, "a command")
        now, timeout = self._parts.clock.now(), self._time(within)
        answer = running.proposals.add(command, now=now, timeout=timeout)
        running.driver.wake()
        return await answer

    async def read_barrier(self, *, within: timedelta | None = None) -> None:
        """Wait until the machine here has everything that was acknowledged before this call.

        A leader is asked, and proves that it still leads; no entry is written. Raises `NoLeader`.
        """
        running = self._open()
        now, timeout = self._parts.clock.now(), self._time(within)
        done = running.reads.add(now=now, timeout=timeout)
        running.driver.wake()
        await done

    async def ask_leader(self, question: bytes, *, within: timedelta | None = None) -> bytes:
        """What the leader's `answer` says to *question*, which may be asked more than once.

        Raises `AnswerFailed` if its `answer` raised, `NoLeader` if none answered in time.
        """
        _check_bytes(question, "a question")
        return await self._ask(Asked.ANSWER, question, within=within)

    async def change(
        self, change: ConfigurationChange, *, within: timedelta | None = None
    ) -> Configuration:
        """Change the members; the configuration once it is in force, and not joint any more.

        The context of *change* is `encode_addresses` of whoever is new or has moved. An id that a
        node had once is not taken again. Asking for what is so already succeeds.

        Raises `ChangeRefused` if it does not fit, `OutcomeUnknown` if no answer came in time.
        """
        if not isinstance(change, ConfigurationChange):
            raise TypeError(f"{change!r} is not a ConfigurationChange: nothing was changed")
        answer = await self._ask(Asked.CHANGE, encode_change(change), within=within)
        return decode_configuration(answer)[0]

    async def transfer(self, transferee: NodeId, *, within: timedelta | None = None) -> None:
        """Hand leadership to *transferee*. Raises `TransferFailed` if it did not take over."""
        question = str(transferee).encode()
        await self._ask(Asked.TRANSFER, question, about=transferee, within=within)

    async def snapshot(self) -> SnapshotMeta:
        """Take a snapshot of what is applied here now, and drop the log that it covers."""
        return await self._open().snapshots.take()

    def status(self) -> HostStatus:
        """How this node sees itself and its cluster; also after it has failed."""
        if self._running is None:
            raise HostClosed(node=self._node)
        return self._running.status()

    async def wait_leader(self, *, within: timedelta | None = None) -> NodeId:
        """The leader, once this node knows one. Raises `NoLeader`."""
        running = self._open()
        timeout = self._time(within)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout.total_seconds()):
                while running.leader is None:
                    await running.news.wait()
                    self._open()
        if running.leader is None:
            raise NoLeader(node=self._node, waited=timeout, why="none is known")
        return running.leader

    async def close(self) -> None:
        """Stop; what waits gets `HostClosed`. Idempotent. Transfer first to spare an election."""
        running = self._running
        if running is not None:
            await running.close(HostClosed(node=self._node))

    def _time(self, within: timedelta | None) -> timedelta:
        if within is None:
            return self._parts.bounds.timeout
        if within <= timedelta(0):
            raise ValueError(f"within {within} nothing can be done; give more than 0")
        return within

    # --- questions ----------------------------------------------------------------------------

    def _open(self) -> Running:
        running = self._running
        if running is None:
            raise HostClosed(node=self._node)
        if running.error is not None:
            raise running.error
        return running

    async def _ask(
        self, asked: Asked, question: bytes, *, within: timedelta | None, about: NodeId = 0
    ) -> bytes:
        """The leader's answer: asked again while there is no leader, or it is not reached."""
        timeout = self._time(within)
        due = self._parts.clock.now() + timeout
        why, in_doubt = "none is known", False
        while (left := due - self._parts.clock.now()) > timedelta(0):
            running = self._open()
            pause = self._parts.settings.heartbeat_interval
            if running.leader is None:
                await _first_of(running.news.wait(), min(left, pause))
                continue
            try:
                answer = await self._ask_node(running, asked, question, left)
            except TimeoutError:
                why, in_doubt = f"node {running.leader} did not answer", True
                continue
            except ConsensusError as error:
                why, in_doubt = str(error), True
                await _first_of(running.news.wait(), min(left, pause))
                continue
            if answer[:1] == DONE:
                return answer[1:]
            if answer[:1] != NOT_LEADER:
                raise decode_error(answer, asker=self._node, about=about, waited=timeout)
            why = f"node {running.leader} does not lead any more"
            await _first_of(running.news.wait(), min(left, pause))
        if in_doubt and asked is not Asked.ANSWER:
            raise OutcomeUnknown(node=self._node, what="a question", waited=timeout)
        raise NoLeader(node=self._node, waited=timeout, why=why)

    async def _ask_node(
        self, running: Running, asked: Asked, question: bytes, left: timedelta
    ) -> bytes:
        leader = running.leader
        async with asyncio.timeout(left.total_seconds()) as limit:
            if leader is None or leader == self._node:
                return await self._on_question(self._node, asked.value + question)
            # What may be asked twice does not wait for a leader that was replaced meanwhile.
            waiting = {limit} if asked is Asked.ANSWER else set()
            running.waiting_for_leader |= waiting
            try:
                return await self._parts.transport.ask(leader, asked.value + question)
            finally:
                running.waiting_for_leader -= waiting

    async def _on_question(self, source: NodeId, question: bytes) -> bytes:
        """Another node, or this one, asks this one, which leads, or says that it does not."""
        running = self._running
        if running is None or running.error is not None:
            return NOT_LEADER
        if running.driver.node.status().role is not Role.LEADER:
            return NOT_LEADER
        try:
            return DONE + await self._reply(running, source, question)
        except Exception as error:  # noqa: BLE001 - the asker learns of it
            return encode_error(error)

    async def _reply(self, running: Running, source: NodeId, question: bytes) -> bytes:
        timeout, content = self._parts.bounds.timeout, question[1:]
        match Asked(question[:1]):
            case Asked.ANSWER:
                if self._answer is None:
                    raise ValueError("this node was made without answers")
                return await self._answer(source, content)
            case Asked.CHANGE:
                members = running.replicated.members
                change = decode_change(content)
                changed = await running.changes.change(change, members, within=timeout)
                return encode_configuration(changed)
            case Asked.TRANSFER:
                await running.changes.transfer(int(content), within=timeout)
                return b""


def _check_bytes(given: object, what: str) -> None:
    if not isinstance(given, bytes):
        raise TypeError(
            f"{what} is {type(given).__name__}, not bytes: it could not be sent; encode it"
        )


async def _first_of(waiting: Awaitable[T], longest: timedelta) -> None:
    """Wait for *waiting*, but not longer than *longest*."""
    with suppress(TimeoutError):
        async with asyncio.timeout(longest.total_seconds()):
            await waiting
