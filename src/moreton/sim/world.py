"""A world in virtual time: machines on nodes, a bad network, disks, crashes, pauses, drift.

Single-threaded and deterministic: the seed alone decides everything. A second of the world takes as
long as its events do.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from moreton.kernel.machine import Machine
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant, nanos_of
from moreton.sim.disk import SimDisk
from moreton.sim.network import Faults, SimNetwork

_STEPS_MAX = 50_000_000
_TRACE_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Deliver:
    """The event that a machine gets for a message."""

    source: Hashable
    message: Any


@dataclass(frozen=True, slots=True)
class Send:
    """The effect that sends *message* to the node *target*."""

    target: Hashable
    message: Any


@dataclass(frozen=True, slots=True)
class Persist:
    """The effect that writes *record*, `bytes` or a value, and syncs it before the next effect."""

    record: Any
    sync: bool = True


@dataclass(frozen=True, slots=True)
class Sync:
    """The effect that makes every record durable that was written without *sync*."""


class WorldFault(AssertionError):
    """Something in a world went wrong; the message names the seed that shows it again."""


@dataclass(slots=True)
class Node:
    """One node: its machine while it is up, and its disk, which outlives crashes."""

    name: Hashable
    build: Callable[[Sequence[Any]], Machine[Any, Any]]
    disk: SimDisk
    machine: Machine[Any, Any] | None = None
    life: int = 0  # counts restarts: what was meant for an earlier life is dropped
    paused: bool = False
    held: list[Any] = field(default_factory=list)
    drift: float = 0.0  # a clock that runs this share fast (or slow, below zero)
    since: tuple[int, int] = (0, 0)  # the world's nanoseconds and its own, when drift began
    armed: Instant | None = None

    def local(self, nanos: int) -> int:
        """What its clock shows when the world's shows *nanos*."""
        world, own = self.since
        return own + int((nanos - world) * (1 + self.drift))

    def world(self, nanos: int) -> int:
        """The world's time when its own clock shows *nanos*."""
        world, own = self.since
        return world + math.ceil((nanos - own) / (1 + self.drift))


class World:
    """Nodes and the network between them.

    *observe* is called with the node and each effect that the world does not perform itself,
    *lost* with source, target and message when one does not arrive. `trace` keeps the
    last of what happened, as text.
    """

    def __init__(
        self,
        seed: int,
        *,
        faults: Faults | None = None,
        observe: Callable[[Hashable, Any], None] | None = None,
        lost: Callable[[Hashable, Hashable, Any], None] | None = None,
        tear: bool = False,
    ) -> None:
        self.seed = seed
        self.rng = seeded_rng(seed)
        self.network = SimNetwork(faults or Faults())
        self.nodes: dict[Hashable, Node] = {}
        self.trace: list[str] = []
        self.delivered = 0
        self.crashes = 0
        self.tracing = True
        self._observe = observe or (lambda *_: None)
        self._lost = lost or (lambda *_: None)
        self._tear = tear
        self._nanos = 0
        self._order = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []

    @property
    def now(self) -> Instant:
        """The world's own time; nodes may see it drift."""
        return Instant(self._nanos)

    def add(self, name: Hashable, build: Callable[[Sequence[Any]], Machine[Any, Any]]) -> Node:
        """A node; *build* makes its machine from the records that its disk has."""
        node = Node(name, build, SimDisk(tear=self._tear))
        self.nodes[name] = node
        self._boot(node)
        return node

    def tell(self, name: Hashable, event: Any) -> None:
        """Hand *event* to the machine of *name* now; lost when that is down."""
        self._handle(self.nodes[name], event)

    def at(self, delay: timedelta, action: Callable[[], None]) -> None:
        """Do *action* after *delay*."""
        self._push(self._nanos + nanos_of(delay), action)

    def crash(self, name: Hashable) -> None:
        """Stop a node: its memory is gone, its disk keeps what was synced, and maybe more."""
        node = self.nodes[name]
        if node.machine is not None:
            self.crashes += 1
            self.note(name, "crashes")
            node.machine, node.armed, node.paused = None, None, False
            node.held.clear()
            node.life += 1
            node.disk.crash(self.rng)

    def restart(self, name: Hashable) -> None:
        """Start a crashed node from its disk."""
        node = self.nodes[name]
        if node.machine is None:
            self.note(name, "restarts")
            self._boot(node)

    def pause(self, name: Hashable) -> None:
        """Hold a node still: events wait, its clock goes on."""
        self.nodes[name].paused = True

    def resume(self, name: Hashable) -> None:
        """Let it go on with what waited."""
        node = self.nodes[name]
        node.paused = False
        held, node.held = node.held, []
        for event in held:
            self._handle(node, event)
        self._arm(node)

    def set_drift(self, name: Hashable, drift: float) -> None:
        """Let the clock of a node run *drift* fast from now on, or slow, below zero."""
        node = self.nodes[name]
        node.since = (self._nanos, node.local(self._nanos))
        node.drift = drift
        node.armed = None
        self._arm(node)

    def run(self, duration: timedelta, *, until: Callable[[], bool] | None = None) -> bool:
        """Let *duration* pass; true as soon as *until* holds, false when it never did."""
        end = self._nanos + nanos_of(duration)
        steps = 0
        while self._queue and self._queue[0][0] <= end:
            if until is not None and until():
                return True
            self._nanos, _, action = heapq.heappop(self._queue)
            action()
            steps += 1
            if steps > _STEPS_MAX:
                self.fail(f"more than {_STEPS_MAX} steps in {duration}")
        self._nanos = max(self._nanos, end)
        return until is not None and until()

    def note(self, name: Hashable, text: str) -> None:
        """Add to the trace that something happened to *name*."""
        if self.tracing:
            self.trace.append(f"{self._nanos / 1e9:.6f} {name} {text}")
            if len(self.trace) > _TRACE_MAX:
                del self.trace[: _TRACE_MAX // 2]

    def fail(self, what: str) -> None:
        """Raise `WorldFault` with the seed and the last of what happened."""
        last = "\n".join(self.trace[-30:])
        raise WorldFault(f"seed {self.seed}: {what}\n{last}")

    def check(self, condition: object, what: str) -> None:
        """`fail` unless *condition*."""
        if not condition:
            self.fail(what)

    def _boot(self, node: Node) -> None:
        node.machine = node.build(node.disk.read())
        self._perform(node, node.machine.wake(self._local(node)))
        self._arm(node)

    def _handle(self, node: Node, event: Any) -> None:
        if node.machine is None:
            return
        if node.paused:
            node.held.append(event)
            return
        self._perform(node, node.machine.handle(event, self._local(node)))
        self._arm(node)

    def _wake(self, node: Node, life: int, due: Instant) -> None:
        if node.machine is None or node.life != life or node.armed != due:
            return
        node.armed = None
        if node.paused:
            return
        # Rounding must not wake it before its own clock shows the time.
        now = max(due, self._local(node))
        self._perform(node, node.machine.wake(now))
        self._arm(node)

    def _perform(self, node: Node, effects: Iterable[Any]) -> None:
        for effect in effects:
            match effect:
                case Send(target=target, message=message):
                    self._send(node, target, message)
                case Persist(record=record, sync=sync):
                    node.disk.append(record)
                    if sync:
                        node.disk.sync()
                case Sync():
                    node.disk.sync()
                case _:
                    self._observe(node.name, effect)

    def _send(self, node: Node, target: Hashable, message: Any) -> None:
        event = Deliver(node.name, message)
        arrivals = self.network.arrivals(node.name, target, self._nanos, self.rng)
        for arrival in arrivals:
            self._push(arrival, partial(self._deliver, target, event))
        if not arrivals:
            self._lost(node.name, target, message)

    def _deliver(self, target: Hashable, event: Deliver) -> None:
        node = self.nodes.get(target)
        if node is None or node.machine is None:
            self.network.counts["undelivered"] += 1
            self._lost(event.source, target, event.message)
            return
        self.delivered += 1
        if self.tracing:
            self.note(target, f"gets {event.message} from {event.source}")
        self._handle(node, event)

    def _arm(self, node: Node) -> None:
        due = node.machine.deadline() if node.machine is not None else None
        if due is None or node.paused:
            node.armed = None
        elif due != node.armed:
            node.armed = due
            when = max(self._nanos, node.world(due.nanos))
            self._push(when, partial(self._wake, node, node.life, due))

    def _local(self, node: Node) -> Instant:
        return Instant(node.local(self._nanos))

    def _push(self, nanos: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (nanos, self._order, action))
