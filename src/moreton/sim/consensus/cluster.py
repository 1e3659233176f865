"""One simulated cluster: its nodes and what is left of them when they are down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from moreton.consensus.core.events import Effect, Event, SnapshotReported, Unreachable
from moreton.consensus.core.messages import (
    Configuration,
    Entry,
    EntryKind,
    InstallSnapshot,
    Message,
    SnapshotMeta,
)
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Recovered, Settings
from moreton.kernel.rng import Rng, seeded_rng
from moreton.sim.consensus.clients import Clients
from moreton.sim.consensus.node.disk import Shelf, must_replace, recover
from moreton.sim.consensus.node.events import Answered, Carried, Halted
from moreton.sim.consensus.node.host import Host
from moreton.sim.consensus.node.registers import Contents, Request
from moreton.sim.consensus.plan import MILLISECOND, Plan
from moreton.sim.consensus.safety import Safety
from moreton.sim.disk import SimDisk
from moreton.sim.world import World

Trap: TypeAlias = Callable[[Message], None]


class Core(Protocol):
    """Makes a node's core: `RaftNode`, or in tests a broken one."""

    def __call__(
        self, node: int, recovered: Recovered, *, rng: Rng, settings: Settings
    ) -> RaftNode:
        """A core that starts from *recovered*."""
        ...


class Cluster:
    """Nodes, clients and the checks, in one world. Nothing happens until that runs."""

    def __init__(self, plan: Plan, core: Core = RaftNode, *, tracing: bool = False) -> None:
        self.plan = plan
        self.rng = seeded_rng(f"cluster {plan.seed}")
        self.world = World(
            plan.seed, faults=plan.network, observe=self._observe, lost=self._lost, tear=True
        )
        self.world.tracing = tracing
        self.counts: Counter[str] = Counter()
        self.lost_disks: set[int] = set()
        self.trap: Trap | None = None  # called with each message that leaves its node
        self._core = core
        self._firsts: dict[int, Recovered] = {}
        self._shelves: dict[int, Shelf] = {}
        voters = frozenset(range(1, plan.voters + 1))
        learners = frozenset(range(plan.voters + 1, plan.voters + plan.learners + 1))
        founded = Recovered.first(Configuration(voters, learners=learners))
        self.safety = Safety(founded.snapshot.configuration, self.world.fail)
        for _ in range(plan.voters + plan.learners):
            self.add(founded)
        self.clients = Clients(
            self.world,
            plan,
            seeded_rng(f"clients {plan.seed}"),
            ask=self.ask,
            nodes=lambda: self.all_nodes,
        )

    @property
    def all_nodes(self) -> list[int]:
        """Every node that there ever was."""
        return list(self._firsts)

    @property
    def nodes(self) -> list[int]:
        """Those of them that have not lost their disk."""
        return [node for node in self._firsts if node not in self.lost_disks]

    def add(self, first: Recovered | None = None) -> int:
        """A new node, which waits to be invited unless it founds the cluster; its number."""
        node = len(self._firsts) + 1
        self._firsts[node] = first or Recovered()
        shelf = self._shelves[node] = Shelf()
        if first is not None:
            shelf.keep(first.snapshot, _empty(first.snapshot))
        self.world.add(node, partial(self._build, node))
        return node

    def host(self, node: int) -> Host | None:
        """The running host of *node*; `None` while it is down."""
        machine = self.world.nodes[node].machine
        assert machine is None or isinstance(machine, Host)
        return machine

    def leader(self) -> int | None:
        """Who leads the latest term, of those that run."""
        leaders = [
            (host.core.state.term, node)
            for node in self.nodes
            if (host := self.host(node)) is not None and host.core.state.is_leader
        ]
        return max(leaders)[1] if leaders else None

    def ask(self, node: int, request: Request) -> bool:
        """Hand *request* to *node*; whether that is up."""
        if self.host(node) is None:
            return False
        self.world.tell(node, request)
        return True

    def tell(self, node: int, event: Event) -> None:
        """Let the core of *node* know of *event*, if it runs."""
        self.world.note(node, f"is told {event}")
        self.world.tell(node, event)

    def crash(self, node: int) -> None:
        """Stop *node*; what it did not sync may be lost or torn."""
        self.safety.end(node)
        self.world.crash(node)

    def restart(self, node: int) -> None:
        """Start *node* from its disk. One that lost it is not a node of the cluster any more."""
        if node not in self.lost_disks:
            self.world.restart(node)

    def lose_disk(self, node: int) -> None:
        """Crash *node* for good: nothing is left of it, and its number is not used again."""
        self.crash(node)
        self.lost_disks.add(node)
        self.world.nodes[node].disk = SimDisk(tear=True)
        self._shelves[node] = Shelf()
        self._firsts[node] = Recovered()

    def has_pending_change(self) -> bool:
        """Whether some log, in memory or on disk, has a configuration that is not committed."""
        return any(
            entry.kind is EntryKind.CONFIGURATION and entry.index > self.safety.committed
            for node in self.nodes
            for entry in self._entries(node)
        )

    # --- what hosts tell ------------------------------------------------------------------------

    def step(self, core: RaftNode, effects: Sequence[Effect]) -> None:
        """A core took a step."""
        self.safety.step(core, effects)

    def sent(self, message: Message) -> None:
        """A message leaves its node."""
        self.safety.sent(message)
        if isinstance(message, InstallSnapshot):
            self.counts["snapshots sent"] += 1
        if self.trap is not None:
            self.trap(message)

    def applied(self, node: int, index: int, digest: int) -> None:
        """A state machine changed."""
        self.safety.applied(node, index, digest)

    def _entries(self, node: int) -> Sequence[Entry]:
        host = self.host(node)
        if host is not None:
            log = host.core.state.log
            return log.entries(log.first_index)
        return self._recovered(node, self.world.nodes[node].disk.read()).entries

    def _recovered(self, node: int, records: Sequence[Any]) -> Recovered:
        return recover(self._firsts[node], records, self._shelves[node])

    def _build(self, node: int, records: Sequence[Any]) -> Host:
        recovered = self._recovered(node, records)
        if must_replace(self._firsts[node], records, recovered):
            disk = self.world.nodes[node].disk
            disk.append(recovered.snapshot)
            disk.sync()
        core = self._core(
            node,
            recovered,
            rng=seeded_rng(f"{self.plan.seed} {node} {self.world.now.nanos}"),
            settings=self.plan.settings,
        )
        self.safety.begin(node, core)
        return Host(
            core,
            self._shelves[node],
            self.plan,
            self.rng,
            self,
        )

    def _observe(self, node: Hashable, effect: Any) -> None:
        assert isinstance(node, int)
        if isinstance(effect, Answered):
            self.clients.answer(effect)
        elif isinstance(effect, Halted):
            self.counts["disk failures"] += 1
            self.world.note(node, "halts: its disk failed")
            self.crash(node)

    def _lost(self, source: Hashable, target: Hashable, message: Any) -> None:
        if not self.plan.reporting or not isinstance(message, Carried):
            return
        assert isinstance(source, int)
        assert isinstance(target, int)
        if isinstance(message.message, InstallSnapshot):
            event: Event = SnapshotReported(target, arrived=False)
        else:
            event = Unreachable(target)
        # Later: the step that sent it is not over yet.
        self._later(partial(self.world.tell, source, event))

    def _later(self, action: Callable[[], None]) -> None:
        self.world.at(2 * MILLISECOND, action)


def _empty(snapshot: SnapshotMeta) -> Contents:
    return Contents(snapshot.index, 0, {}, {})
