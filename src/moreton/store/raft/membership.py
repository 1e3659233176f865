"""Who belongs to the cluster: the leader admits, promotes and lets go, one change at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from moreton.consensus.core.configuration import (
    ChangeKind,
    ConfigurationChange,
    NodeChange,
    Transition,
)
from moreton.consensus.core.messages import NodeId
from moreton.consensus.core.state import Status
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host import HostStatus, NoLeader, RaftHost, encode_addresses
from moreton.store.raft.errors import AddressTaken, LastVoter, MajorityAtRisk, UnknownMember

_LOG = logging.getLogger("moreton.store.raft")
# How often the leader looks whether a node that joined has caught up.
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Admitted:
    """A node that was let in, and where everyone is."""

    node: NodeId
    addresses: dict[NodeId, str]


class Membership:
    """What the leader does about members; *reached* tells whom this node is connected to."""

    def __init__(self, host: RaftHost, *, reached: Callable[[], Iterable[NodeId]]) -> None:
        self._host = host
        self._reached = reached
        self._changing = asyncio.Lock()
        # By learner: how far the log had got when it was looked at last.
        self._goals: dict[NodeId, int] = {}

    async def admit(self, address: str) -> Admitted:
        """Let a new node in, as a learner. Raises `AddressTaken`.

        It becomes a voter by `promote`. A learner of that address that never answered was the
        same attempt: it goes first.
        """
        async with self._changing:
            status = self._host.status()
            for node, taken in status.addresses.items():
                if taken != address:
                    continue
                if node in status.raft.configuration.learners and not status.raft.matches.get(node):
                    await self._change(NodeChange(ChangeKind.REMOVE, node))
                else:
                    raise AddressTaken(address=address, node=node)
            node = self._host.status().next_node
            await self._change(NodeChange(ChangeKind.ADD_LEARNER, node), {node: address})
            return Admitted(node, dict(self._host.status().addresses))

    async def dismiss(self, node: NodeId, *, at_any_risk: bool = False) -> None:
        """Let *node* go. Raises `UnknownMember`, `LastVoter`, `MajorityAtRisk`.

        A leader that goes hands over first. *at_any_risk*: even if those who are left may be too
        few to decide.
        """
        async with self._changing:
            status = self._host.status()
            raft, members = status.raft, status.raft.configuration.members()
            if node not in members and 0 < node < status.next_node:
                return  # it was one: whoever asks again wants to know that it is gone
            if node not in members:
                raise UnknownMember(node=node, members=members)
            voters = raft.configuration.voters
            left = sorted(voters - {node})
            if not left:
                raise LastVoter(node=node)
            silent = sorted(set(left) - {raft.node, *self._reached()})
            if node in voters and 2 * len(silent) >= len(left) and not at_any_risk:
                raise MajorityAtRisk(node=node, silent=silent, voters=len(left))
            if node == raft.node:
                await self._host.transfer(max(left, key=lambda one: raft.matches.get(one, 0)))
                # Whoever asked asks again, the new leader.
                raise NoLeader(node=node, waited=timedelta(0), why="it handed leadership over")
            await self._change(NodeChange(ChangeKind.REMOVE, node))

    async def move(self, node: NodeId, address: str) -> None:
        """*node* is at *address* from now on. Raises `AddressTaken`, `UnknownMember`."""
        members = self._host.status().raft.configuration.members()
        if node not in members:
            raise UnknownMember(node=node, members=members)
        for other, taken in self._host.status().addresses.items():
            if taken == address and other != node:
                raise AddressTaken(address=address, node=other)
        await self._change(NodeChange(ChangeKind.UPDATE, node), {node: address})

    async def promote(self) -> None:
        """For as long as this node leads: make voters of learners that have caught up.

        One has when it holds what the log was a moment ago: less than an election timeout of
        writes is missing then. Source: Ongaro 2014, section 4.2.1.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            raft = self._host.status().raft
            for node in self._caught_up(raft):
                with suppress(ConsensusError):
                    async with self._changing:
                        await self._change(NodeChange(ChangeKind.ADD_VOTER, node))
                    _LOG.info("node %d has caught up and votes from now on", node)

    def _caught_up(self, raft: Status) -> list[NodeId]:
        learners = raft.configuration.learners
        ready = [
            node
            for node in sorted(learners)
            if node in self._goals and raft.matches.get(node, 0) >= self._goals[node]
        ]
        self._goals = dict.fromkeys(learners, raft.last_index)
        return ready

    async def _change(self, change: NodeChange, addresses: dict[NodeId, str] | None = None) -> None:
        context = encode_addresses(addresses) if addresses else b""
        await self._host.change(ConfigurationChange((change,), Transition.AUTO, context))


def is_member(status: HostStatus) -> bool:
    """Whether the node belongs to the cluster, in the configuration that it knows."""
    return status.raft.node in status.raft.configuration.members()
