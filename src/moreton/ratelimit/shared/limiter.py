"""The limiter whose states are in a file that the processes of this machine share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from moreton.kernel.arguments import check_kind, check_whole
from moreton.ratelimit.cells import CellLimiter, Change
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.gcra import Gcra
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.core.rings import AdaptiveConcurrency
from moreton.ratelimit.gates import Allow
from moreton.ratelimit.limiter import LimiterStatistics
from moreton.ratelimit.shared.file import EVICTED, HEADER_BYTES, RECOVERED, SharedFile, SharedMemo
from moreton.ratelimit.shared.gate import Gate
from moreton.ratelimit.tables import KEYS_MAX
from moreton.ratelimit.turns import WAITING_MAX

# A key has two rows of eight places that it may be in, and half of all places are spare.
_ROW = 8
_SPARE = 2
_HEADER = HEADER_BYTES // 8


class SharedLimiter(CellLimiter):
    """*limits* that all processes count together which give the same *path*, and the same limits.

    Exact: every decision is made under one lock. A process may be killed at any instruction: the
    next one goes on, and at most the decision that was being made is charged without having been
    told. A key is forgotten when its quota is there again, and earlier only when all sixteen places
    that it may have are taken by keys that owe; about *keys_max* have room. In /dev/shm nothing
    reaches a disk. Containers share by mounting one folder. `allow(key, cost=1)` is `decide`
    without the reasons, in a fraction of the time.
    """

    def __init__(
        self,
        path: str | Path,
        *limits: Limit,
        keys_max: int = KEYS_MAX,
        waiting_max: int = WAITING_MAX,
        clock: LimitClock = SYSTEM,
    ) -> None:
        if not isinstance(path, str | Path):
            raise TypeError(f"path is {path!r}: give a path, as '/dev/shm/shop-limits'")
        super().__init__(limits, clock=clock, waiting_max=waiting_max)
        if any(isinstance(limit, AdaptiveConcurrency) for limit in self.limits):
            raise TypeError(
                "an AdaptiveConcurrency learns in one process: take it with a LocalLimiter"
            )
        check_whole("keys_max", keys_max, 1, why="no key could be remembered")
        self._rows = max(2, -(-keys_max * _SPARE // _ROW))
        self._begins: list[int] = []
        size = 0
        for limit in self.limits:
            self._begins.append(_HEADER + size)
            size += self._rows * _ROW * (1 + limit.width)
        self._file = SharedFile(Path(path), self.limits, f"{self._rows}", size)
        self._words = self._file.words
        self._lock = self._file.lock
        self._salt = self._file.salt
        self._memo = SharedMemo(keys_max)
        self.allow: Allow = self._allow
        if all(type(limit) is Gcra for limit in self.limits):
            gate = Gate(
                words=self._words,
                lock=self._lock,
                known=self._memo.known,
                clock=self.clock.monotonic,
                slow=self._allow,
                recover=self._recover,
            )
            self.allow = gate.make(cast("Sequence[Gcra]", self.limits))

    def reset(self, key: str) -> None:
        """See `Limiter.reset`."""
        marks = self._places(key)
        try:
            self._enter()
            for number, (mark, rows) in enumerate(marks):
                for at in self._each(number, rows):
                    if self._words[at] == mark:
                        self._clear(number, at)
        finally:
            self._lock.release()

    def statistics(self) -> LimiterStatistics:
        """See `Limiter.statistics`; keys and evictions are those of all processes. O(keys_max)."""
        keys = 0
        for begin, limit in zip(self._begins, self.limits, strict=True):
            width = 1 + limit.width
            end = begin + self._rows * _ROW * width
            keys = max(keys, sum(self._words[at] != 0 for at in range(begin, end, width)))
        return LimiterStatistics(keys, self._words[EVICTED], self._queue.waiting)

    def recovered(self) -> int:
        """How often a process died while it decided, since the file was made."""
        return self._words[RECOVERED]

    def close(self) -> None:
        """Stop using the file; the last one leaves it for those who come with the same limits."""
        self._file.close()

    def __reduce__(self) -> str:
        raise TypeError(
            "a SharedLimiter is not sent to other processes: each makes its own, with the same path"
        )

    def _change(self, keys: tuple[str, ...], change: Change) -> Decision:
        marks = [self._places(key) for key in keys]
        try:
            self._enter()
            nows = self._nows()
            found = [
                self._find(number, *marks[number][number], nows[number])
                for number in range(len(keys))
            ]
            states = [
                self._words[at + 1 : at + 1 + limit.width]
                for at, limit in zip(found, self.limits, strict=True)
            ]
            decision = change(states, nows)
        finally:
            self._lock.release()
        if all(key == keys[0] for key in keys):
            places = tuple((at, marks[0][number][0]) for number, at in enumerate(found))
            self._memo.add(keys[0], places)
        return decision

    def _allow(self, key: str, cost: int = 1) -> bool:
        return self.decide(key, cost).allowed

    def _enter(self) -> None:
        if self._lock.acquire():
            self._recover()

    def _recover(self) -> None:
        """The one that held the lock was killed: what it left is whole, each word for itself."""
        self._words[RECOVERED] += 1

    def _places(self, key: str) -> list[tuple[int, tuple[int, int]]]:
        """For each limit: the mark of *key*, and its two rows."""
        check_kind("key", key, str)
        digest = hashlib.blake2b(
            key.encode("utf-8", "surrogatepass"), digest_size=16, key=self._salt
        ).digest()
        mark = int.from_bytes(digest[:8], "little") >> 1 or 1
        first = int.from_bytes(digest[8:12], "little") % self._rows
        second = int.from_bytes(digest[12:], "little") % self._rows
        if second == first:
            second = (first + 1) % self._rows
        return [(mark, (first, second))] * len(self.limits)

    def _find(self, number: int, mark: int, rows: tuple[int, int], now: int) -> int:
        """The place of a key in the table of limit *number*, which is made when it is new."""
        words, limit = self._words, self.limits[number]
        best: tuple[int, int] | None = None  # what is owed there, and where
        for at in self._each(number, rows):
            found = words[at]
            if found == mark:
                return at
            # An empty place is better than one that is full again, and that than one that owes.
            owes = limit.full_in(words[at + 1 : at + 1 + limit.width], now) if found else -1
            if best is None or owes < best[0]:
                best = (owes, at)
        assert best is not None
        owes, at = best
        words[EVICTED] += owes > 0
        self._clear(number, at)
        words[at] = mark
        return at

    def _each(self, number: int, rows: tuple[int, int]) -> list[int]:
        """The words of the marks of both *rows* of the table of limit *number*."""
        width = 1 + self.limits[number].width
        begin = self._begins[number]
        return [begin + (row * _ROW + place) * width for row in rows for place in range(_ROW)]

    def _clear(self, number: int, at: int) -> None:
        # The mark goes first: who dies here leaves an empty place, never another's state.
        for word in range(at, at + 1 + self.limits[number].width):
            self._words[word] = 0
