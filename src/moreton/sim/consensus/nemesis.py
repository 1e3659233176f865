"""Whoever breaks the world: draws a fault again and again, and takes each back after a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Message,
    RequestVoteResponse,
)
from moreton.kernel.rng import Rng
from moreton.sim.consensus.cluster import Cluster
from moreton.sim.consensus.node.events import DiskTurns
from moreton.sim.consensus.plan import MILLISECOND
from moreton.sim.network import Faults

T = TypeVar("T")
_STORM = Faults(lose=0.4, duplicate=0.3, delay_max=20 * MILLISECOND, linger=0.2)


class Nemesis:
    """Faults of one cluster, from `start` until `stop`, which takes back what can be."""

    def __init__(self, cluster: Cluster, rng: Rng) -> None:
        self._cluster, self._rng = cluster, rng
        self._stopped = False
        self._network = cluster.world.network
        # The more often it stands here, the more often it happens.
        self._faults: Sequence[Callable[[], None]] = (
            self._partition,
            self._partition,
            self._isolate_leader,
            self._isolate_leader,
            self._cut_one_way,
            self._bridge,
            self._bridge,
            self._crash,
            self._crash,
            self._crash,
            self._crash_leader,
            self._crash_leader,
            self._crash_all,
            self._set_trap,
            self._set_trap,
            self._set_trap,
            self._pause,
            self._pause_leader,
            self._fail_disk,
            self._storm,
            self._drift,
            self._lose_disk,
        )

    def start(self) -> None:
        """Begin to break things."""
        self._next()

    def stop(self) -> None:
        """Everybody runs, and everyone reaches everyone."""
        self._stopped = True
        self._cluster.trap = None
        self._network.heal()
        self._network.faults = Faults(delay_max=self._cluster.plan.network.delay_max)
        for node in self._cluster.nodes:
            self._cluster.world.resume(node)
            self._cluster.world.tell(node, DiskTurns(bad=False))
            self._cluster.restart(node)

    def _next(self) -> None:
        if not self._stopped:
            self._pick(self._faults)()
            delay = self._cluster.plan.fault_every * (2 * self._rng.random())
            self._cluster.world.at(delay, self._next)

    # --- the network --------------------------------------------------------------------------

    def _partition(self) -> None:
        nodes = self._cluster.all_nodes
        self._shuffle(nodes)
        split = 1 + self._rng.randrange(len(nodes) - 1)
        self._note("partitions", 0, f"cut into {nodes[:split]} and {nodes[split:]}")
        self._network.partition(nodes[:split], nodes[split:])
        self._undo(self._network.heal)

    def _isolate_leader(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            self._note("isolated leaders", leader, "is isolated")
            others = [node for node in self._cluster.all_nodes if node != leader]
            self._network.partition([leader], others)
            self._undo(self._network.heal)

    def _cut_one_way(self) -> None:
        node, other = self._node(), self._node()
        if node != other:
            self._note("one-way cuts", node, f"does not reach {other}")
            self._network.cut([node], [other])
            self._undo(self._network.heal)

    def _bridge(self) -> None:
        """Two halves that both reach one node, and not each other."""
        nodes = self._cluster.all_nodes
        self._shuffle(nodes)
        middle = 1 + len(nodes) // 2
        self._note("bridges", nodes[0], f"is between {nodes[1:middle]} and {nodes[middle:]}")
        self._network.partition(nodes[1:middle], nodes[middle:])
        self._undo(self._network.heal)

    def _storm(self) -> None:
        self._note("storms", 0, "the network is bad")
        self._network.faults = _STORM
        self._undo(partial(setattr, self._network, "faults", self._cluster.plan.network))

    # --- nodes --------------------------------------------------------------------------------

    def _crash(self) -> None:
        self._crash_node("crashes", self._node())

    def _crash_leader(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            self._crash_node("crashes of leaders", leader)

    def _crash_all(self) -> None:
        self._note("crashes of all", 0, "all crash")
        for node in self._cluster.nodes:
            self._crash_node("crashes", node)

    def _crash_node(self, name: str, node: int) -> None:
        if self._cluster.host(node) is not None:
            self._cluster.counts[name] += 1
            self._cluster.crash(node)
        self._undo(partial(self._cluster.restart, node))

    def _set_trap(self) -> None:
        """Crash whoever next sends a certain message, just before or after it is under way."""
        kind = self._pick((RequestVoteResponse, AppendEntries, AppendEntriesResponse))

        def trap(message: Message) -> None:
            busy = not isinstance(message, AppendEntries) or message.entries
            if isinstance(message, kind) and busy:
                self._cluster.trap = None
                delay = 4 * MILLISECOND * self._rng.random()
                self._cluster.world.at(delay, partial(self._trapped, message.source))

        self._cluster.trap = trap

    def _trapped(self, node: int) -> None:
        if not self._stopped:
            self._crash_node("trapped", node)

    def _pause(self) -> None:
        self._pause_node(self._node())

    def _pause_leader(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            self._pause_node(leader)

    def _pause_node(self, node: int) -> None:
        if self._cluster.host(node) is None:
            return
        self._note("pauses", node, "pauses")
        self._cluster.world.pause(node)
        self._undo(partial(self._cluster.world.resume, node))

    def _drift(self) -> None:
        node = self._node()
        drift = self._cluster.plan.drift_max * (2 * self._rng.random() - 1)
        self._note("drifts", node, f"has a clock that runs {drift:+.3f} fast")
        self._cluster.world.set_drift(node, drift)

    # --- disks --------------------------------------------------------------------------------

    def _fail_disk(self) -> None:
        node = self._node()
        if self._cluster.host(node) is not None:
            self._cluster.world.tell(node, DiskTurns(bad=True))
            self._undo(partial(self._cluster.restart, node))

    def _lose_disk(self) -> None:
        """Once, and only while the others are a quorum that will stay: more would lose data."""
        cluster = self._cluster
        configuration = cluster.safety.configuration
        certain = not configuration.is_joint and not cluster.has_pending_change()
        if not cluster.plan.wipes or cluster.lost_disks or not certain:
            return
        if len(configuration.voters) >= 3:
            voters = sorted(configuration.voters)
            node = voters[self._rng.randrange(len(voters))]
            self._note("lost disks", node, "loses its disk")
            cluster.lose_disk(node)

    # --- drawing ------------------------------------------------------------------------------

    def _node(self) -> int:
        return self._pick(self._cluster.nodes)

    def _pick(self, choices: Sequence[T]) -> T:
        return choices[self._rng.randrange(len(choices))]

    def _shuffle(self, items: list[int]) -> None:
        for position in range(len(items) - 1, 0, -1):
            other = self._rng.randrange(position + 1)
            items[position], items[other] = items[other], items[position]

    def _undo(self, action: Callable[[], None]) -> None:
        delay = 20 * MILLISECOND + self._cluster.plan.fault_max * self._rng.random()
        self._cluster.world.at(delay, partial(self._unless_stopped, action))

    def _unless_stopped(self, action: Callable[[], None]) -> None:
        if not self._stopped:
            action()

    def _note(self, name: str, node: int, text: str) -> None:
        self._cluster.counts[name] += 1
        self._cluster.world.note(node or "world", text)
