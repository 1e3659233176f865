"""A node of the cluster at work: consensus below, the store's commands and the leader's duties."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

from moreton.consensus.core.messages import NodeId
from moreton.consensus.core.state import Settings
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host import (
    AnswerFailed,
    CommandTooLarge,
    HostClosed,
    HostSettings,
    HostStatus,
    NodeFailed,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    RaftHost,
)
from moreton.consensus.ports import Disk, Transport
from moreton.consensus.transport.errors import (
    AddressOfAnother,
    NodeClaimedTwice,
    NodeRemoved,
    OtherCluster,
    OtherVersion,
    TlsRefused,
    WrongSecret,
)
from moreton.kernel.time import Clock
from moreton.store.core.errors import LeaseNotFound, RequestTooLarge, StoreError
from moreton.store.core.model import LeaseId
from moreton.store.errors import StoreClosed
from moreton.store.host import BYTES_PENDING_MAX, WRITES_PENDING_MAX
from moreton.store.raft.core.commands import Command
from moreton.store.raft.core.encoding import encode
from moreton.store.raft.core.questions import pack_question, read_answer
from moreton.store.raft.core.renewals import read_ttls
from moreton.store.raft.core.replica import Answer, Done
from moreton.store.raft.desk import LeaderDesk, about_leases, about_members
from moreton.store.raft.errors import (
    ClusterUnreachable,
    NodeBusy,
    NodeLeft,
    NodeStopped,
    RaftAnswerLost,
    UnknownMember,
)
from moreton.store.raft.machine import Follower, StoreMachine
from moreton.store.raft.membership import Admitted, Membership, is_member
from moreton.store.raft.sharing import Room, Shared
from moreton.store.raft.tenure import Tenure

_LOG = logging.getLogger("moreton.store.raft")
# Leases that are renewed by one question to the leader.
_RENEWALS_MAX = 1000
# How long a node that is stopped takes to hand leadership over, which spares an election.
_HAND_OVER = timedelta(seconds=1)
# None of these goes away by waiting.
_OBSTACLES = (
    AddressOfAnother,
    NodeClaimedTwice,
    OtherCluster,
    OtherVersion,
    TlsRefused,
    WrongSecret,
)


@dataclass(frozen=True, slots=True)
class NodeNumbers:
    """What a node counts."""

    writes_pending: int
    disk_bytes: int


class ClusterNode(Follower):
    """Node *node*, from its making until `close`; it starts by itself.

    *reached* tells to which others it is connected, *troubles* what stands in the way of that.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        disk: Disk,
        transport: Transport,
        addresses: dict[NodeId, str],
        clock: Clock,
        timeout: timedelta,
        reached: Callable[[], Iterable[NodeId]],
        troubles: Callable[[], Mapping[NodeId, Sequence[ConsensusError]]] = dict,
        settings: Settings | None = None,
        bounds: HostSettings | None = None,
    ) -> None:
        self.node = node
        self.machine = StoreMachine(asyncio.get_running_loop())
        self._clock = clock
        self._troubles = troubles
        self._timeout = timeout
        self._host = RaftHost(
            node,
            disk=disk,
            transport=transport,
            machine=self.machine,
            addresses=addresses,
            settings=settings,
            bounds=bounds or HostSettings(timeout=timeout),
            clock=clock,
            on_leader=self._on_leader,
            answer=self._answer,
        )
        self.membership = Membership(self._host, reached=reached)
        self._desk = LeaderDesk(node, self.membership, tenure=lambda: self._tenure)
        self._tenure: Tenure | None = None
        self._ended: list[Tenure] = []
        self._renewals = Shared(self._ask_renewals, items_max=_RENEWALS_MAX)
        self._room = Room(count_max=WRITES_PENDING_MAX, bytes_max=BYTES_PENDING_MAX)
        self._was_member = False
        self._besides: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self.machine.tell(self)
        self._starting = asyncio.create_task(self._host.start())

    @property
    def host(self) -> RaftHost:
        """What drives consensus."""
        return self._host

    async def wait_started(self) -> None:
        """Return once the node takes part. Raises why it could not."""
        if self._closing is not None:
            raise StoreClosed
        if not self._starting.done():
            await asyncio.wait({self._starting})
        if self._closing is not None:
            raise StoreClosed
        with self._translated():
            self._starting.result()

    async def propose(self, command: Command) -> Answer:
        """What *command* did. Raises what the store refuses; `ClusterUnreachable` and the like."""
        await self.wait_started()
        data = encode(command)
        await self._room.take(len(data))
        try:
            with self._translated():
                answer = await self._host.propose(data)
        finally:
            self._room.give(len(data))
        if isinstance(answer, StoreError):
            raise answer
        return answer  # type: ignore[return-value]  # what the machine's `apply` gave

    async def barrier(self) -> None:
        """Wait until the machine has everything that was acknowledged before, anywhere."""
        await self.wait_started()
        with self._translated():
            await self._host.read_barrier()

    async def renew(self, lease: LeaseId) -> timedelta:
        """Let *lease* live on. Raises `LeaseNotFound`, `ClusterUnreachable`."""
        await self.wait_started()
        ttl = await self._renewals.get(lease) if 0 < lease < 1 << 63 else None
        if ttl is None:
            raise LeaseNotFound(lease=lease)
        return ttl

    async def admit(self, address: str) -> Admitted:
        """Let a new node in, by the leader. Raises `AddressTaken`, `ClusterUnreachable`."""
        found = await self._ask_leader(pack_question("admit", address=address))
        return Admitted(found["node"], {int(n): at for n, at in found["addresses"].items()})

    async def dismiss(self, node: NodeId, *, at_any_risk: bool = False) -> None:
        """Let *node* go, by the leader. Raises what `Membership.dismiss` does."""
        await self._ask_leader(pack_question("dismiss", node=node, at_any_risk=at_any_risk))

    async def move(self, node: NodeId, address: str) -> None:
        """*node* is at *address* from now on. Raises `AddressTaken`, `UnknownMember`."""
        await self._ask_leader(pack_question("move", node=node, address=address))

    async def transfer(self, node: NodeId) -> None:
        """Let *node* lead. Raises `UnknownMember`, and the `TransferFailed` of consensus."""
        await self.wait_started()
        members = self._host.status().raft.configuration.members()
        if node not in members:
            raise UnknownMember(node=node, members=members)
        with self._translated():
            await self._host.transfer(node)

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* until this node is closed; should it fail, the node goes on without it."""
        task = asyncio.create_task(work, name=f"beside node {self.node}")
        task.add_done_callback(self._on_beside_done)
        self._besides.add(task)

    def status(self) -> HostStatus:
        """How this node sees itself and the others; raises `HostClosed` before it started."""
        return self._host.status()

    def has_left(self) -> bool:
        """Whether the others have removed this node, as far as it knows or was told."""
        status = self._host.status()
        # One that joins begins with a configuration of before: it must have been a member once.
        self._was_member = self._was_member or is_member(status)
        if self._was_member and not is_member(status):
            return True
        found = chain.from_iterable(self._troubles().values())
        return status.raft.leader is None and any(isinstance(one, NodeRemoved) for one in found)

    def misplaced(self) -> AddressOfAnother | None:
        """Who answers where the others are told that this node is, if that is not it."""
        for trouble in self._troubles().get(self.node, ()):
            if isinstance(trouble, AddressOfAnother):
                return trouble
        return None

    def numbers(self) -> NodeNumbers:
        """What it counts; zeros before it started."""
        try:
            status = self._host.status()
        except HostClosed:
            return NodeNumbers(0, 0)
        return NodeNumbers(status.proposals_waiting, status.disk_bytes)

    async def close(self) -> None:
        """Finish the writes under way, hand leadership over, stop. May be called again."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    # --- as the machine's follower, and as the host's -----------------------------------------

    def on_done(self, done: Done) -> None:
        """As `Follower.on_done`."""
        if self._tenure is not None:
            self._tenure.on_done(done)

    def on_restored(self) -> None:
        """As `Follower.on_restored`: never while this node leads."""

    def _on_leader(self, term: int, leader: NodeId | None) -> None:
        if self._tenure is not None:
            self._tenure.end()
            self._ended = [one for one in self._ended if one.is_busy]
            self._ended.append(self._tenure)
            self._tenure = None
        if leader == self.node and self._closing is None:
            self._tenure = Tenure(
                term,
                self.machine,
                propose=self.propose,
                barrier=self.barrier,
                clock=self._clock,
                duties=[self.membership.promote()],
            )

    async def _answer(self, source: NodeId, question: bytes) -> bytes:
        del source
        return await self._desk.answer(question)

    async def _ask_leader(self, question: bytes) -> dict[str, Any]:
        await self.wait_started()
        with self._translated():
            answer = await self._host.ask_leader(about_members(question))
        return read_answer(answer)

    async def _ask_renewals(self, leases: Sequence[LeaseId]) -> Sequence[timedelta | None]:
        with self._translated():
            try:
                answer = await self._host.ask_leader(about_leases(leases))
            except AnswerFailed as error:
                raise self._unreachable(error.reason) from error
        try:
            found = read_ttls(answer)
        except ValueError as error:
            raise self._unreachable(f"the leader's answer is not one, {error}") from error
        if len(found) != len(leases):
            raise self._unreachable(f"the leader renewed {len(found)} leases of {len(leases)}")
        return found

    # --- the end ------------------------------------------------------------------------------

    async def _close(self) -> None:
        for task in self._besides:
            task.cancel()
        try:
            await asyncio.wait({self._starting, *self._besides})
            self._starting.exception()  # whoever asked for something was told
            await self._room.wait_empty()
            await self._hand_over()
            await self._renewals.close(StoreClosed())
        finally:
            await self._host.close()
            await self._end_tenures()
            self.machine.hub.close()

    async def _hand_over(self) -> None:
        with contextlib.suppress(ConsensusError):
            raft = self._host.status().raft
            others = {n: match for n, match in raft.matches.items() if n != self.node}
            voters = [n for n in others if n in raft.configuration.voters]
            if raft.leader == self.node and voters:
                newest = max(voters, key=lambda node: others[node])
                await self._host.transfer(newest, within=_HAND_OVER)

    def _on_beside_done(self, task: asyncio.Task[None]) -> None:
        self._besides.discard(task)
        error = None if task.cancelled() else task.exception()
        # Why it did not start is told to whoever asks for something.
        if error is not None and self._starting.done() and not self._starting.exception():
            _LOG.error("node %d goes on without what it does beside: %s", self.node, error)

    def _obstacle(self) -> str:
        """What people must mend before the others can be reached, as one of them told."""
        for trouble in chain.from_iterable(self._troubles().values()):
            if isinstance(trouble, _OBSTACLES):
                return str(trouble)
        return ""

    async def _end_tenures(self) -> None:
        if self._tenure is not None:
            self._tenure.end()
            self._ended.append(self._tenure)
        for tenure in self._ended:
            await tenure.wait_ended()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NoLeader as error:
            if self.has_left():
                raise NodeLeft(node=self.node) from error
            raise self._unreachable(self._obstacle() or error.why) from error
        except Overloaded as error:
            raise NodeBusy(node=self.node, reason=str(error)) from error
        except CommandTooLarge as error:
            raise RequestTooLarge(found=error.size, limit=error.limit, unit="bytes") from error
        except OutcomeUnknown as error:
            raise RaftAnswerLost(node=self.node, reason=str(error)) from error
        except HostClosed as error:
            raise StoreClosed from error
        except NodeFailed as error:
            raise NodeStopped(node=self.node, reason=error.reason) from error

    def _unreachable(self, why: str) -> ClusterUnreachable:
        return ClusterUnreachable(node=self.node, waited=self._timeout, reason=why)
