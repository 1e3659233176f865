"""A host's state machine: applies what is committed, answers clients, freezes into snapshots."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import timedelta

from moreton.consensus.core.messages import Entry, SnapshotMeta
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.sim.consensus.node.disk import Shelf
from moreton.sim.consensus.node.events import Answered
from moreton.sim.consensus.node.registers import EMPTY, Contents, Registers, Request
from moreton.sim.consensus.plan import Plan


class Serving:
    """The registers, and who waits for what. *applied* is called with index and digest."""

    def __init__(
        self, shelf: Shelf, plan: Plan, rng: Rng, *, applied: Callable[[int, int], None]
    ) -> None:
        self.machine = Registers(shelf.machine or EMPTY)
        self.answers: list[Answered] = []
        self.apply_due: Instant | None = None
        self.snapshot_due: Instant | None = None
        self._shelf, self._plan, self._rng, self._applied = shelf, plan, rng, applied
        self._unapplied: deque[Entry] = deque()
        self._asked: set[tuple[int, int]] = set()
        self._asked_reads: dict[bytes, Request] = {}
        self._reads: list[tuple[int, Request]] = []
        self._snapshot: tuple[SnapshotMeta, Contents] | None = None
        self._snapshot_index = self.machine.applied

    def note(self, request: Request) -> bytes:
        """A client waits for *request* here; what the core shall be told of it."""
        data = request.encode()
        if request.operation == "read":
            self._asked_reads[data] = request
        else:
            self._asked.add((request.client, request.serial))
        return data

    def refuse(self, data: bytes) -> None:
        """The core did not take what `note` said."""
        client, serial, *_ = data.split()
        self._asked_reads.pop(data, None)
        self.answers.append(Answered(int(client), int(serial), refused=True))

    def take(self, entries: tuple[Entry, ...], now: Instant) -> None:
        """Apply *entries* after those that were taken before, soon."""
        self._unapplied += entries
        if self.apply_due is None:
            self.apply_due = now + self._delay(self._plan.apply_max)

    def apply(self) -> int:
        """Apply all that was taken; the index of the last."""
        self.apply_due = None
        while self._unapplied:
            answer = self.machine.apply(self._unapplied.popleft())
            self._applied(self.machine.applied, self.machine.digest)
            if answer is not None and answer[0] in self._asked:
                self._asked.remove(answer[0])
                self.answers.append(Answered(*answer[0], answer[1]))
        self._changed()
        return self.machine.applied

    def restore(self, snapshot: SnapshotMeta) -> int:
        """Become *snapshot*; its index."""
        self._unapplied.clear()
        self.apply_due = None
        self.machine = Registers(self._shelf.contents(snapshot))
        self._applied(self.machine.applied, self.machine.digest)
        self._snapshot_index = snapshot.index
        self._changed()
        return snapshot.index

    def read(self, context: bytes, index: int) -> None:
        """Answer the read of *context* from the state at *index* or later."""
        request = self._asked_reads.pop(context, None)
        if request is None:
            return  # the leader's answer was doubled
        if self.machine.applied < index:
            self._reads.append((index, request))
        else:
            self._answer_read(request)

    @property
    def wants_snapshot(self) -> bool:
        """Whether so much was applied since the last that another is worth its while."""
        enough = self.machine.applied >= self._snapshot_index + self._plan.snapshot_every
        return enough and self._snapshot is None

    def freeze(self, snapshot: SnapshotMeta, now: Instant) -> None:
        """Begin to write *snapshot*, of the present state."""
        self._snapshot_index = snapshot.index
        self._snapshot = (snapshot, self.machine.freeze())
        self.snapshot_due = now + self._delay(self._plan.write_max)

    def keep(self) -> SnapshotMeta:
        """The snapshot is written; which one."""
        assert self._snapshot is not None
        snapshot, contents = self._snapshot
        self._snapshot = self.snapshot_due = None
        self._shelf.keep(snapshot, contents)
        return snapshot

    def _changed(self) -> None:
        if self._plan.durable:
            self._shelf.machine = self.machine.freeze()
        waiting, self._reads = self._reads, []
        for index, request in waiting:
            if self.machine.applied < index:
                self._reads.append((index, request))
            else:
                self._answer_read(request)

    def _answer_read(self, request: Request) -> None:
        value = self.machine.read(request.key)
        self.answers.append(Answered(request.client, request.serial, value))

    def _delay(self, longest: timedelta) -> timedelta:
        return longest * self._rng.random() if longest else longest
