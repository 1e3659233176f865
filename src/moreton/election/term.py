"""What the holder of a leadership or a lock has in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moreton.election.core.errors import FencedOff, TermLost
from moreton.election.core.names import check_value
from moreton.election.core.queue import Entry, in_of
from moreton.election.place import Place
from moreton.store import Compare, Put, Range, TxnResult
from moreton.store.core.model import Op, RangeResult


@dataclass(frozen=True, slots=True)
class Holder:
    """Who leads, or holds a lock: its fencing token and what it told of itself."""

    token: int
    value: bytes

    @classmethod
    def of(cls, entry: Entry) -> Holder:
        """The owner of *entry*."""
        return cls(entry.token, entry.value)


class Life:
    """Whether a term goes on, and why not; shared by the term and its host."""

    def __init__(self, place: Place, lost: Callable[..., TermLost]) -> None:
        self.place = place
        self.over = asyncio.Event()
        self.resigned = False
        self._lost = lost
        self._reason = ""

    @property
    def is_held(self) -> bool:
        """As `Term.is_held`."""
        return not self.over.is_set() and self.place.keeper.is_held

    def end(self, reason: str) -> None:
        """Nothing is held from now on; the first *reason* counts."""
        self._reason = self._reason or reason
        self.over.set()

    def error(self) -> TermLost:
        """That it is over."""
        reason = self._reason or "its lease may have ended"
        return self._lost(what=self.place.queue.what, token=self.place.token, reason=reason)


class Term:
    """The time for which something is held.

    *token* is the fencing token: larger than that of every term before of the same name, and of
    no other. It is the revision of the store that created *key*, so that a write is fenced by
    comparing the two: `write` does, and `guard` is that comparison for a transaction of your own.
    """

    def __init__(self, life: Life) -> None:
        self.token = life.place.token
        self.key = life.place.key
        self._life = life
        self._place = life.place

    def __repr__(self) -> str:
        return f"<Term of {self._place.queue.what}, token {self.token}>"

    @property
    def is_held(self) -> bool:
        """Whether it can be relied on at this very moment: by the clock, without asking anyone."""
        return self._life.is_held

    @property
    def guard(self) -> Compare:
        """Holds in the store as long as this term does: put it among a transaction's comparisons.

        In the other branch of that transaction nobody holds anything: only read there.
        """
        return Compare.create(self.key, "=", self.token)

    def check(self) -> None:
        """Return if it is held. Raises `LeadershipLost` or `LockLost` if not.

        For a body that computes for long without waiting for anything: nothing can cancel that.
        """
        if not self.is_held:
            raise self._life.error()

    async def wait_lost(self) -> None:
        """Return when it is not held any more, for whatever reason."""
        await self._life.over.wait()

    async def write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        """Do *then* in one transaction, if this term still holds and so does every *compare*.

        Whether it was done is in the result's `succeeded`: false if one of *compare* did not hold.
        Raises `FencedOff` when the term is over, then nothing was written; and the store's errors.
        """
        store = self._place.queue.store
        done = await store.txn([self.guard, *compare], then, [Range(self.key)])
        if not done.succeeded:
            found = done.results[0]
            assert isinstance(found, RangeResult)
            if not any(kv.create_revision == self.token for kv in found.kvs):
                raise await self._fenced_off()
        return done

    async def proclaim(self, value: bytes) -> None:
        """Tell everyone who observes another value, while going on. Raises as `write`."""
        check_value(value)
        await self.write([Put(self.key, value, self._place.lease)])

    async def resign(self) -> None:
        """Hand over now: the next in line is in as soon as it is told. The body goes on."""
        self._life.resigned = True
        self._life.end("it was resigned")
        await self._place.leave()

    async def _fenced_off(self) -> FencedOff:
        inside = in_of(await self._place.queue.entries())
        current = max((entry.token for entry in inside), default=None)
        return FencedOff(what=self._place.queue.what, token=self.token, current=current)
