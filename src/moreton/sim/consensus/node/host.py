"""The host of one node in the simulator: does with effects what a real one does, and no more.

Nothing that rests on a write leaves before that write is durable; writes take time, and go to the
disk in the order of their numbers, many at once; the state machine lags; memory dies in a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

from moreton.consensus.core.events import (
    Applied,
    Apply,
    Compact,
    Effect,
    Event,
    Persist,
    Persisted,
    Propose,
    ReadReady,
    ReadRequest,
    Receive,
    Refuse,
    Restore,
    Send,
    SnapshotReported,
    SnapshotTaken,
)
from moreton.consensus.core.messages import (
    AppendEntriesResponse,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    RequestVote,
    RequestVoteResponse,
)
from moreton.consensus.core.node import RaftNode
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.sim import world
from moreton.sim.consensus.node.disk import Dropped, Shelf
from moreton.sim.consensus.node.events import Carried, DiskTurns, Halted, SnapshotArrived, Watcher
from moreton.sim.consensus.node.registers import Registers, Request
from moreton.sim.consensus.node.serving import Serving
from moreton.sim.consensus.node.writing import Writing
from moreton.sim.consensus.plan import MILLISECOND, Plan

# What these say must be durable first; that of a heartbeat's answer in part. Other messages rest on
# nothing that is not durable yet.
_PROMISES = (RequestVote, RequestVoteResponse, AppendEntriesResponse)

HostEvent: TypeAlias = world.Deliver | Request | DiskTurns | Event


class Host:
    """A machine of the world: one core, and what its effects ask for."""

    def __init__(
        self, core: RaftNode, shelf: Shelf, plan: Plan, rng: Rng, watcher: Watcher
    ) -> None:
        self.core = core
        self._shelf, self._plan, self._watcher = shelf, plan, watcher
        self._writing: Writing[Message | Apply] = Writing(plan.write_max, rng)
        applied = partial(watcher.applied, core.state.node)
        self._serving = Serving(shelf, plan, rng, applied=applied)
        self._effects: list[Any] = []
        self._inbox: list[Event] = []
        self._turn_due: Instant | None = None

    @property
    def machine(self) -> Registers:
        """The state machine, to look at."""
        return self._serving.machine

    def handle(self, event: HostEvent, now: Instant) -> list[Any]:
        """Pass *event* on to the core in its terms."""
        match event:
            case world.Deliver(source=int(source), message=SnapshotArrived()):
                self._tell(SnapshotReported(source, arrived=True), now)
            case world.Deliver(message=message):
                self._receive(message, now)
            case Request(operation="read"):
                self._tell(ReadRequest(self._serving.note(event)), now)
            case Request():
                self._tell(Propose(self._serving.note(event)), now)
            case DiskTurns(bad):
                self._writing.failing = bad
            case _:
                self._step([event], now)
        return self._out(now)

    def wake(self, now: Instant) -> list[Any]:
        """Whatever is due."""
        serving = self._serving
        if self._turn_due is not None and now >= self._turn_due:
            self._turn_due = None
            inbox, self._inbox = self._inbox, []
            self._step(inbox, now)
        if self._writing.due is not None and now >= self._writing.due:
            self._end_write(now)
        if serving.apply_due is not None and now >= serving.apply_due:
            self._step([Applied(serving.apply())], now)
        if serving.snapshot_due is not None and now >= serving.snapshot_due:
            self._step([SnapshotTaken(serving.keep())], now)
        due = self.core.deadline()
        if due is not None and now >= due:
            self._follow(self.core.wake(now), now)
        return self._out(now)

    def deadline(self) -> Instant | None:
        """The earliest of all that is due."""
        earliest = self.core.deadline()
        serving = self._serving
        for due in (self._turn_due, self._writing.due, serving.apply_due, serving.snapshot_due):
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    def _receive(self, carried: Carried, now: Instant) -> None:
        message = carried.message
        if isinstance(message, InstallSnapshot) and carried.contents is not None:
            self._shelf.keep(message.snapshot, carried.contents)
            self._effects.append(world.Send(message.source, SnapshotArrived()))
        self._tell(Receive(message), now)

    def _tell(self, event: Event, now: Instant) -> None:
        if not self._plan.batching:
            self._step([event], now)
            return
        self._inbox.append(event)
        if self._turn_due is None:
            self._turn_due = now + MILLISECOND

    def _step(self, events: list[Event], now: Instant) -> None:
        self._follow(self.core.handle_all(events, now), now)

    def _follow(self, effects: Sequence[Effect], now: Instant) -> None:
        self._watcher.step(self.core, effects)
        restored = None
        for effect in effects:
            match effect:
                case Persist():
                    self._writing.ask(effect)
                case Send(message):
                    self._send(message)
                case Restore(snapshot):
                    self._writing.forget(Apply)  # it is in the snapshot
                    restored = self._serving.restore(snapshot)
                case _:
                    self._perform(effect, now)
        if restored is not None:
            self._step([Applied(restored)], now)
        if self._serving.apply_due == now:
            self._step([Applied(self._serving.apply())], now)

    def _perform(self, effect: Effect, now: Instant) -> None:
        match effect:
            case Apply(entries):
                # A state machine that outlives a crash must not know more than the log does.
                if not (self._plan.durable and self._writing.hold(effect)):
                    self._serving.take(entries, now)
            case ReadReady(context, index):
                self._serving.read(context, index)
            case Refuse(event=Propose(data) | ReadRequest(data)):
                self._serving.refuse(data)
            case Compact(index):
                self._effects.append(world.Persist(Dropped(index), sync=False))
            case _:
                pass

    def _send(self, message: Message) -> None:
        writing = self._writing
        if not self._plan.overtaking or isinstance(message, _PROMISES):
            held = writing.hold(message)
        else:
            held = isinstance(message, HeartbeatResponse) and writing.hold(message, for_vote=True)
        if not held:
            self._let_go(message)

    def _let_go(self, message: Message) -> None:
        contents = None
        if isinstance(message, InstallSnapshot):
            contents = self._shelf.contents(message.snapshot)
        self._watcher.sent(message)
        self._effects.append(world.Send(message.target, Carried(message, contents)))

    def _end_write(self, now: Instant) -> None:
        if self._writing.failing:
            self._effects.append(Halted())
            return
        if self._writing.is_synced:
            self._effects.append(world.Sync())
        for held in self._writing.end():
            if isinstance(held, Apply):
                self._serving.take(held.entries, now)
            else:
                self._let_go(held)
        self._step([Persisted(self._writing.durable)], now)

    def _out(self, now: Instant) -> list[Any]:
        """What the world shall do, with what may begin now."""
        if self._writing.is_ready:
            for record in self._writing.begin(now):
                self._effects.append(world.Persist(record, sync=False))
        if self._serving.wants_snapshot:
            applied = self._serving.machine.applied
            self._serving.freeze(self.core.describe_snapshot(applied), now)
        effects, self._effects = self._effects, []
        if self._serving.answers:
            effects += self._serving.answers
            self._serving.answers = []
        return effects
