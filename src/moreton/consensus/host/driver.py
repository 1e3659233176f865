"""Runs a node: one turn of the event loop, all that happened goes in, all that follows is done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from moreton.consensus.core.events import (
    Applied,
    Apply,
    Compact,
    ConfigurationChanged,
    Effect,
    Event,
    LeaderChanged,
    Persist,
    Persisted,
    Propose,
    ReadReady,
    ReadRequest,
    Refuse,
    Restore,
    Send,
)
from moreton.consensus.core.messages import (
    AppendEntriesResponse,
    Entry,
    EntryKind,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    RequestVote,
    RequestVoteResponse,
)
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Settings
from moreton.consensus.host.proposals import Proposals, describe
from moreton.consensus.host.reads import Reads
from moreton.consensus.host.writer import Writer
from moreton.consensus.ports import Disk
from moreton.kernel.time import Clock, Instant

# What these say must be durable first. A leader's messages and what is passed on rest on nothing
# that is not durable yet (section 10.2.1), so they travel while the disk writes.
_PROMISES = (RequestVote, RequestVoteResponse, AppendEntriesResponse)
# Applying goes on in the next turn when it took so long, or one entry more.
APPLY_TIME_MAX = timedelta(milliseconds=10)
# A timer is never set shorter: clocks of different grain would make it spin.
_TIMER_SECONDS_MIN = 0.001


class Handlers(Protocol):
    """What a host does about effects that are not the driver's own concern."""

    def send(self, message: Message) -> None:
        """Send *message* now."""
        ...

    def send_snapshot(self, message: InstallSnapshot) -> None:
        """Send *message* with the newest snapshot's data."""
        ...

    def apply(self, entry: Entry) -> None:
        """Apply *entry*, which is not empty."""
        ...

    def applied(self) -> None:
        """All entries that were there to apply are applied."""
        ...

    def restore(self, effect: Restore) -> None:
        """Replace the state by the snapshot whose data arrived last."""
        ...

    def configuration_changed(self, effect: ConfigurationChanged) -> None:
        """Others belong to the cluster now."""
        ...

    def leader_changed(self, effect: LeaderChanged) -> None:
        """Another leads, or nobody that is known."""
        ...

    def compact(self, effect: Compact) -> None:
        """The log's beginning may go."""
        ...

    def refused(self, effect: Refuse) -> None:
        """A change or a transfer was not done."""
        ...

    def failed(self, error: Exception) -> None:
        """The node cannot go on."""
        ...


class Driver:
    """Feeds *node* and performs what it says; one per running host.

    The handlers are the host's: each gets one kind of effect.
    """

    def __init__(
        self,
        node: RaftNode,
        *,
        disk: Disk,
        settings: Settings,
        clock: Clock,
        proposals: Proposals,
        reads: Reads,
        handlers: Handlers,
    ) -> None:
        self.node = node
        self.applied = 0
        self._clock = clock
        self._settings = settings
        self._proposals = proposals
        self._reads = reads
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._events: list[Event] = []
        self._to_apply: deque[Entry] = deque()
        self._turning = False
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = Instant(0)
        self._sweeper: asyncio.TimerHandle | None = None
        self.writer = Writer(
            disk, durable=self._on_durable, failed=handlers.failed, send=handlers.send
        )
        self._perform_of: dict[type[Effect], Callable[..., None]] = {
            Send: self._send,
            Persist: self.writer.persist,
            Apply: self._apply,
            LeaderChanged: self._leader_changed,
            ConfigurationChanged: handlers.configuration_changed,
            Restore: self._restore,
            ReadReady: self._read_ready,
            Compact: handlers.compact,
            Refuse: self._refused,
        }

    def begin(self) -> None:
        """Take the first turn now: then the state is that of the newest snapshot."""
        self._turn()

    def tell(self, event: Event) -> None:
        """*event* happened; the node hears of it in the next turn of the event loop."""
        if not self._stopped:
            self._events.append(event)
            self.wake()

    def wake(self) -> None:
        """Take a turn soon: something waits."""
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)
            if self._sweeper is None:
                self._set_sweeper()

    def stop(self) -> None:
        """No more turns."""
        self._stopped = True
        for timer in (self._timer, self._sweeper):
            if timer is not None:
                timer.cancel()

    # --- turns --------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._turning = False
        if self._stopped:
            return
        try:
            now = self._clock.now()
            events, self._events = self._events, []
            events += map(Propose, self._proposals.take(now))
            events += map(ReadRequest, self._reads.take(now))
            if events:
                self._perform(self.node.handle_all(events, now))
            deadline = self.node.deadline()
            if deadline is not None and deadline <= now and not self._stopped:
                self._perform(self.node.wake(now))
                deadline = self.node.deadline()
            if deadline is not None and not self._stopped:
                self._set_timer(deadline, now)
            self._apply_some()
        except Exception as error:  # noqa: BLE001 - a node that lost its way must not go on
            self._handlers.failed(error)

    def _set_timer(self, deadline: Instant, now: Instant) -> None:
        # Deadlines mostly move on: a timer that comes too early sets the next.
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        seconds = max((deadline - now).total_seconds(), _TIMER_SECONDS_MIN)
        self._timer = self._loop.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._turn()

    def _set_sweeper(self) -> None:
        interval = self._settings.heartbeat_interval.total_seconds()
        self._sweeper = self._loop.call_later(interval, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._clock.now()
        self._proposals.sweep(now)
        self._reads.sweep(now)
        if len(self._proposals) or len(self._reads):
            self.wake()
            if self._sweeper is None:
                self._set_sweeper()

    # --- effects ------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        perform_of = self._perform_of
        for effect in effects:
            perform_of[type(effect)](effect)

    def _send(self, effect: Send) -> None:
        message = effect.message
        if isinstance(message, _PROMISES):
            self.writer.hold(message)
        elif isinstance(message, HeartbeatResponse):
            # It promises to follow in this term, whatever becomes of entries.
            self.writer.hold(message, for_vote=True)
        elif isinstance(message, InstallSnapshot):
            self._handlers.send_snapshot(message)
        else:
            self._handlers.send(message)

    def _apply(self, effect: Apply) -> None:
        self._to_apply += effect.entries

    def _apply_some(self) -> None:
        """Apply what is to be applied, for a moment: messages must not wait for all of it."""
        entries = self._to_apply
        if not entries:
            return
        until = self._clock.now() + APPLY_TIME_MAX
        while entries and not self._stopped:
            entry = entries.popleft()
            if entry.kind is not EntryKind.EMPTY:
                self._handlers.apply(entry)
            self.applied = entry.index
            if self._clock.now() >= until:
                break
        self._note_applied(self.applied)
        self._handlers.applied()

    def _restore(self, effect: Restore) -> None:
        self._to_apply.clear()  # the snapshot has it all
        self._handlers.restore(effect)
        self._note_applied(effect.snapshot.index)

    def _note_applied(self, index: int) -> None:
        self.applied = index
        self._reads.applied(index)
        self.tell(Applied(index))

    def _leader_changed(self, effect: LeaderChanged) -> None:
        self._proposals.give_again()
        self._reads.give_again()
        self._handlers.leader_changed(effect)
        self.wake()

    def _read_ready(self, effect: ReadReady) -> None:
        self._reads.answered(effect.context, effect.index, applied=self.applied)

    def _refused(self, effect: Refuse) -> None:
        until = self._clock.now() + self._settings.heartbeat_interval
        why = describe(effect.refusal, effect.leader)
        match effect.event:
            case Propose(data):
                self._proposals.refused(data, why, until=until)
            case ReadRequest(context):
                self._reads.refused(context, why, until=until)
            case _:
                self._handlers.refused(effect)

    def _on_durable(self, number: int) -> None:
        self.tell(Persisted(number))
