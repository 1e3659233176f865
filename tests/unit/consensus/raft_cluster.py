"""A cluster in one thread whose messages wait until they are delivered, and disks that remember."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from moreton.consensus.core.configuration import (
    ChangeKind,
    ConfigurationChange,
    NodeChange,
    Transition,
)
from moreton.consensus.core.events import (
    Applied,
    Apply,
    Campaign,
    Effect,
    Event,
    Persist,
    Persisted,
    Propose,
    ProposeChange,
    ReadReady,
    ReadRequest,
    Receive,
    Refuse,
    Restore,
    Send,
    SnapshotTaken,
)
from moreton.consensus.core.messages import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    SnapshotMeta,
)
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Recovered, Role, Settings, State
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant

T = TypeVar("T")
ELECTION = timedelta(seconds=1)
START = Instant(1_000_000_000)


def voters(*nodes: int) -> Configuration:
    return Configuration(voters=frozenset(nodes))


def changing(words: str, transition: Transition = Transition.AUTO) -> ProposeChange:
    """Words such as `v4 l5 r1`."""
    changes = tuple(NodeChange(ChangeKind(word[0]), int(word[1:])) for word in words.split())
    return ProposeChange(ConfigurationChange(changes, transition))


class Disk:
    """Folds what was persisted into what a node recovers from."""

    def __init__(self, recovered: Recovered) -> None:
        self.recovered = recovered

    def write(self, persist: Persist) -> None:
        now = self.recovered
        if persist.snapshot is not None:
            now = replace(now, snapshot=persist.snapshot, entries=())
        if persist.entries:
            first = persist.entries[0].index
            kept = tuple(entry for entry in now.entries if entry.index < first)
            now = replace(now, entries=kept + persist.entries)
        if persist.hard_state is not None:
            now = replace(now, hard_state=persist.hard_state)
        self.recovered = now

    def keep(self, snapshot: SnapshotMeta, compacted: int) -> None:
        """Put *snapshot* there, and drop the entries up to *compacted*."""
        entries = tuple(one for one in self.recovered.entries if one.index > compacted)
        self.recovered = replace(self.recovered, snapshot=snapshot, entries=entries)


class Cluster:
    """Nodes that start from *recovered*, or found a cluster of *nodes* and *learners*."""

    def __init__(
        self,
        nodes: Sequence[int] = (1, 2, 3),
        *,
        learners: Sequence[int] = (),
        settings: Settings | None = None,
        recovered: dict[int, Recovered] | None = None,
    ) -> None:
        self.settings = settings or Settings(election_timeout=ELECTION)
        self.now = START
        self.queue: deque[Message] = deque()
        self.cuts: set[tuple[int, int]] = set()
        self.drop: Callable[[Message], bool] = lambda _: False
        self.slow_disks: set[int] = set()  # whose writes are never reported as durable
        self.lazy_disks: set[int] = set()  # which report only those that had to be synced
        self.effects: dict[int, list[Effect]] = defaultdict(list)
        self.applied: dict[int, list[Entry]] = defaultdict(list)
        self.told: dict[int, list[tuple[Instant, tuple[Event, ...]]]] = defaultdict(list)
        self.nodes: dict[int, RaftNode] = {}
        founded = Recovered.first(Configuration(frozenset(nodes), learners=frozenset(learners)))
        starts = recovered or dict.fromkeys([*nodes, *learners], founded)
        self.disks = {node: Disk(start) for node, start in starts.items()}
        for node in starts:
            self.start(node)

    def start(self, node: int) -> None:
        if node not in self.disks:
            self.disks[node] = Disk(Recovered())
        self.applied[node].clear()
        self.nodes[node] = RaftNode(
            node,
            self.disks[node].recovered,
            rng=seeded_rng(f"{node} {self.now.nanos}"),
            settings=self.settings,
        )
        self.told[node].clear()
        self.wake(node)

    def wake(self, node: int) -> None:
        self.told[node].append((self.now, ()))
        self._perform(node, self.nodes[node].wake(self.now))

    def crash(self, node: int) -> None:
        del self.nodes[node]

    def restart(self, node: int) -> None:
        if node in self.nodes:
            self.crash(node)
        self.start(node)

    def tell(self, node: int, *events: Event) -> list[Effect]:
        """The effects of *events*; messages wait until `deliver`."""
        self.told[node].append((self.now, events))
        effects = list(self.nodes[node].handle_all(events, self.now))
        self._perform(node, effects)
        return effects

    def do(self, node: int, *events: Event) -> None:
        """*events*, and everything that follows from them."""
        self.tell(node, *events)
        self.deliver()

    def deliver(self, *, rounds: int = 10_000) -> None:
        while self.queue and rounds:
            rounds -= 1
            message = self.queue.popleft()
            target = message.target
            cut = (message.source, target) in self.cuts or target not in self.nodes
            if not cut and not self.drop(message):
                self.tell(target, Receive(message))
        assert not self.queue, "the cluster never comes to rest"

    def advance(self, duration: timedelta) -> None:
        """Let time pass, with everything that falls due."""
        end = self.now + duration
        while True:
            dues = {n: d for n, node in self.nodes.items() if (d := node.deadline()) is not None}
            if not dues or min(dues.values()) > end:
                break
            node = min(dues, key=lambda n: (dues[n], n))
            self.now = max(self.now, dues[node])
            self.wake(node)
            self.deliver()
        self.now = end

    def isolate(self, *nodes: int) -> None:
        for node in nodes:
            for other in set(self.disks) - {node}:
                self.cuts |= {(node, other), (other, node)}

    def heal(self) -> None:
        self.cuts.clear()

    def elect(self, node: int) -> None:
        self.do(node, Campaign())
        assert self.role(node) is Role.LEADER

    def propose(self, node: int, *data: str) -> None:
        self.do(node, *(Propose(one.encode()) for one in data))

    def snapshot(self, node: int) -> SnapshotMeta:
        """What *node* has applied, as a snapshot that it holds from now on."""
        found = self.nodes[node].describe_snapshot(self.state(node).log.applied)
        self.tell(node, SnapshotTaken(found))
        self.disks[node].keep(found, self.state(node).log.base_index)
        return found

    def read(self, node: int, context: bytes = b"read") -> None:
        self.do(node, ReadRequest(context))

    def reads(self, node: int) -> list[ReadReady]:
        return self.of(node, ReadReady)

    def refusals(self, node: int) -> list[str]:
        return [one.refusal.value for one in self.of(node, Refuse)]

    def of(self, node: int, kind: type[T]) -> list[T]:
        return [effect for effect in self.effects[node] if isinstance(effect, kind)]

    def sent(self, node: int, kind: type[T]) -> list[T]:
        messages: Iterable[Any] = (one.message for one in self.of(node, Send))
        return [message for message in messages if isinstance(message, kind)]

    def role(self, node: int) -> Role:
        return self.state(node).role

    def state(self, node: int) -> State:
        return self.nodes[node]._state

    def configuration(self, node: int) -> Configuration:
        return self.nodes[node].status().configuration

    def leaders(self) -> list[int]:
        return [node for node in self.nodes if self.role(node) is Role.LEADER]

    def data(self, node: int) -> list[str]:
        """What the state machine of *node* was given."""
        return [e.data.decode() for e in self.applied[node] if e.kind is EntryKind.DATA]

    def log(self, node: int) -> list[tuple[int, int]]:
        """Index and term of every entry that *node* keeps."""
        log = self.state(node).log
        return [(entry.index, entry.term) for entry in log.entries(log.first_index)]

    def _perform(self, node: int, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.effects[node].append(effect)
            match effect:
                case Send(message):
                    self.queue.append(message)
                case Persist():
                    self.disks[node].write(effect)
                case Apply(entries):
                    self.applied[node] += entries
        for effect in effects:
            if isinstance(effect, Persist) and node not in self.slow_disks:
                if effect.sync or node not in self.lazy_disks:
                    self.tell(node, Persisted(effect.number))
            elif isinstance(effect, Apply):
                self.tell(node, Applied(effect.entries[-1].index))
            elif isinstance(effect, Restore):
                self.tell(node, Applied(effect.snapshot.index))


def logged(*terms: int, term: int | None = None, nodes: Sequence[int] = (1, 2, 3)) -> Recovered:
    """A node that has a log of *terms* from index 2 on, as it restarts in *term*."""
    entries = tuple(Entry(t, index, data=b"x") for index, t in enumerate(terms, 2))
    founded = Recovered.first(voters(*nodes))
    state = HardState(term if term is not None else max(terms, default=1), None, 1)
    return replace(founded, hard_state=state, entries=entries)
