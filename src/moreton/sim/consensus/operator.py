"""Whoever runs the cluster: changes members and leaders, replaces nodes that lost their disk."""

from __future__ import annotations

from functools import partial

from moreton.consensus.core.configuration import (
    ChangeKind,
    ConfigurationChange,
    NodeChange,
    Transition,
)
from moreton.consensus.core.events import Campaign, ProposeChange, TransferLeadership
from moreton.consensus.core.messages import Configuration
from moreton.kernel.rng import Rng
from moreton.sim.consensus.cluster import Cluster
from moreton.sim.consensus.plan import ELECTION_TIMEOUT

_NODES_MAX = 8  # that there ever were
_VOTERS_MAX = 5
_VOTERS_MIN_WITH_WIPES = 3


class Operator:
    """Acts now and then, on what is in force; once settling, only to bring the cluster to rest."""

    def __init__(self, cluster: Cluster, rng: Rng) -> None:
        self._cluster, self._rng = cluster, rng
        self._settling = False
        self._turn = 0  # an action that was put off to an earlier turn is not taken
        self._successor: int | None = None

    def start(self) -> None:
        """Begin."""
        self._next(self._turn)

    def settle(self) -> None:
        """Only finish what was begun: leave joint configurations, replace what is lost."""
        self._settling = True
        self._turn += 1
        self._next(self._turn)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be finished."""
        return self._unfinished(self._cluster.safety.configuration) is None

    def _next(self, turn: int) -> None:
        if turn != self._turn:
            return
        change = self._unfinished(self._cluster.safety.configuration)
        if change is not None:
            self._propose(change)
        elif not self._settling:
            self._act()
        every = ELECTION_TIMEOUT if self._settling else self._cluster.plan.change_every
        self._cluster.world.at(every * (2 * self._rng.random()), partial(self._next, turn))

    def _act(self) -> None:
        what = self._rng.randrange(5)
        if what == 0:
            self._transfer()
        elif what == 1:
            self._cluster.counts["campaigns"] += 1
            self._cluster.tell(self._pick(self._cluster.nodes), Campaign())
        else:
            change = self._draw_change(self._cluster.safety.configuration)
            if change is not None:
                self._propose(change)

    def _transfer(self) -> None:
        self._cluster.counts["transfers"] += 1
        target = self._pick(sorted(self._cluster.safety.configuration.voters))
        self._cluster.tell(self._pick(self._cluster.nodes), TransferLeadership(target))

    def _propose(self, change: ConfigurationChange) -> None:
        """At the leader, so that it is never late, or at any node, so that it may be."""
        careful = self._cluster.plan.wipes or self._settling
        node = self._cluster.leader() if careful else self._pick(self._cluster.nodes)
        if node is not None:
            self._cluster.counts["changes proposed"] += 1
            self._cluster.tell(node, ProposeChange(change))

    def _unfinished(self, configuration: Configuration) -> ConfigurationChange | None:
        """What must be done before anything else."""
        if configuration.is_joint:
            explicit = not configuration.auto_leave
            # Half of the time another change is tried, in vain.
            leave = explicit and (self._settling or self._rng.random() < 0.5)
            return ConfigurationChange() if leave else None
        lost = self._cluster.lost_disks & frozenset(configuration.members())
        if not lost:
            return None
        node = min(lost)
        if self._successor is None:
            self._successor = self._cluster.add()
        if self._successor not in configuration.members():
            return _change(ChangeKind.ADD_LEARNER, self._successor)
        if self._successor not in configuration.voters:
            return _change(ChangeKind.ADD_VOTER, self._successor)
        return _change(ChangeKind.REMOVE, node)

    def _draw_change(self, configuration: Configuration) -> ConfigurationChange | None:
        count = 1 if self._rng.random() < 0.6 else 2
        changes: list[NodeChange] = []
        for _ in range(count):
            change = self._draw_node_change(configuration, changes)
            if change is not None:
                changes.append(change)
        if not changes:
            return None
        transitions = list(Transition) if len(changes) > 1 else [Transition.AUTO]
        return ConfigurationChange(tuple(changes), self._pick_transition(transitions))

    def _draw_node_change(
        self, configuration: Configuration, before: list[NodeChange]
    ) -> NodeChange | None:
        voters, learners = sorted(configuration.voters), sorted(configuration.learners)
        leaving = sum(each.kind is not ChangeKind.ADD_VOTER for each in before)
        least = _VOTERS_MIN_WITH_WIPES if self._cluster.plan.wipes else 1
        what = self._rng.randrange(4)
        if what == 0 and len(voters) - leaving > least:
            kind = ChangeKind.REMOVE if self._rng.random() < 0.7 else ChangeKind.ADD_LEARNER
            return NodeChange(kind, self._pick(voters))
        if what == 1 and learners:
            return NodeChange(ChangeKind.ADD_VOTER, self._pick(learners))
        if what == 2 and learners:
            return NodeChange(ChangeKind.REMOVE, self._pick(learners))
        if len(voters) + len(before) >= _VOTERS_MAX:
            return None
        strangers = [node for node in self._cluster.nodes if node not in configuration.members()]
        fresh = len(self._cluster.all_nodes) < _NODES_MAX
        node = self._cluster.add() if fresh else self._pick(strangers) if strangers else None
        kind = ChangeKind.ADD_VOTER if self._rng.random() < 0.5 else ChangeKind.ADD_LEARNER
        return None if node is None else NodeChange(kind, node)

    def _pick(self, nodes: list[int]) -> int:
        return nodes[self._rng.randrange(len(nodes))]

    def _pick_transition(self, transitions: list[Transition]) -> Transition:
        return transitions[self._rng.randrange(len(transitions))]


def _change(kind: ChangeKind, node: int) -> ConfigurationChange:
    return ConfigurationChange((NodeChange(kind, node),))
