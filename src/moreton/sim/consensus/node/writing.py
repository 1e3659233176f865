"""A host's way to its disk: one write at a time, of all that waits, and what must wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import Generic, TypeVar

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import NodeId
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.sim.consensus.node.disk import Record, records_of

HeldT = TypeVar("HeldT")


class Writing(Generic[HeldT]):
    """Writes in the order of their numbers; each takes up to *longest* to become durable."""

    def __init__(self, longest: timedelta, rng: Rng) -> None:
        self.due: Instant | None = None  # when the write under way ends
        self.failing = False
        self.durable = 0  # the number of the last write that is
        self._longest, self._rng = longest, rng
        self._asked = self._voted = 0  # the newest asked for, and the newest with a term or vote
        self._term: tuple[int, NodeId | None] = (0, None)
        self._waiting: list[Persist] = []
        self._under_way: list[Persist] = []
        self._held: deque[tuple[int, HeldT]] = deque()

    def ask(self, persist: Persist) -> None:
        """Write *persist* when the disk is free."""
        self._waiting.append(persist)
        self._asked = persist.number
        state = persist.hard_state
        if state is not None and (state.term, state.vote) != self._term:
            self._term = (state.term, state.vote)
            self._voted = persist.number

    def hold(self, effect: HeldT, *, for_vote: bool = False) -> bool:
        """Keep *effect* until all is durable that was asked for before; false if that is so.

        *for_vote*: no more than the term and the vote need be.
        """
        number = self._voted if for_vote else self._asked
        if self.durable >= number:
            return False
        self._held.append((number, effect))
        return True

    @property
    def is_ready(self) -> bool:
        """Whether something waits and the disk is free."""
        return bool(self._waiting) and not self._under_way

    def begin(self, now: Instant) -> Iterator[Record]:
        """What goes to the disk now, all that waits."""
        self._under_way, self._waiting = self._waiting, []
        slow = self.is_synced or self.failing
        self.due = now + self._longest * self._rng.random() if slow else now
        for persist in self._under_way:
            yield from records_of(persist)

    @property
    def is_synced(self) -> bool:
        """Whether the write under way ends with a sync."""
        return any(persist.sync for persist in self._under_way)

    def forget(self, kind: type[object]) -> None:
        """Let nothing of *kind* go that is held so far."""
        self._held = deque(each for each in self._held if not isinstance(each[1], kind))

    def end(self) -> list[HeldT]:
        """The write under way is done; what it held up."""
        self.due = None
        self.durable = self._under_way[-1].number
        self._under_way = []
        released = []
        kept: deque[tuple[int, HeldT]] = deque()
        for number, effect in self._held:
            if number <= self.durable:
                released.append(effect)
            else:
                kept.append((number, effect))
        self._held = kept
        return released
