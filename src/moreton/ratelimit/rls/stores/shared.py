"""Counts that the server processes of one machine share, in a file that all of them map."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from moreton.kernel.arguments import check_whole
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.limit import Cells, Limit
from moreton.ratelimit.rls.core.settling import Ask, Settled, settle
from moreton.ratelimit.rls.stores.local import LocalStore
from moreton.ratelimit.rls.stores.store import KEYS_MAX, Store, identity
from moreton.ratelimit.shared.file import EVICTED, HEADER_BYTES, SharedFile

# A key has two rows of eight places that it may be in, and half of all places are spare.
_ROW = 8
_SPARE = 2
_CELLS = 3  # of a window, the widest that is kept here
_WIDTH = 2 + _CELLS  # the mark of the key, and when all of its quota is there again
_HEADER = HEADER_BYTES // 8


class SharedStore(Store):
    """All processes count together which give the same *path*; exact, under one lock.

    About *keys_max* keys have room. One is forgotten when its quota is there again, and earlier
    only when all sixteen places that it may have are taken by keys that owe. A process that is
    *alone* keeps limits, too, that remember more than three numbers a key, in its own memory.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        keys_max: int = KEYS_MAX,
        alone: bool = False,
        clock: LimitClock = SYSTEM,
    ) -> None:
        super().__init__(clock)
        check_whole("keys_max", keys_max, 1, why="no key could be remembered")
        self._alone = LocalStore(keys_max=keys_max, clock=clock) if alone else None
        self._rows = max(2, -(-keys_max * _SPARE // _ROW))
        size = self._rows * _ROW * _WIDTH
        self._file = SharedFile(Path(path), (), f"descriptors {self._rows}", size)
        self._words = self._file.words
        self._salt = self._file.salt

    async def settle(self, domain: str, asks: Sequence[Ask]) -> Settled:  # noqa: ARG002 - the shape
        """See `Store.settle`."""
        return self.settle_nowait(asks)

    def settle_nowait(self, asks: Sequence[Ask]) -> Settled:
        """As `settle`; waits for the lock, microseconds."""
        hashed = [self._hashed(ask) for ask in asks]
        own = self._alone
        words, lock = self._words, self._file.lock
        try:
            # Who held it may have been killed: what it left is whole, each word for itself.
            lock.acquire()
            nows = self.nows(asks)
            monotonic = self.clock.monotonic()
            places: list[int] = []
            for mark, rows in hashed:
                places.append(self._find(mark, rows, monotonic, places))
            states: list[Cells] = [
                words[at + 2 : at + 2 + ask.limit.width]
                if own is None or ask.limit.width <= _CELLS
                else own.cells(ask, now)
                for at, ask, now in zip(places, asks, nows, strict=True)
            ]
            settled = settle(asks, states, nows)
            for at, verdict in zip(places, settled.verdicts, strict=True):
                words[at + 1] = monotonic + verdict.reset_nanos
        finally:
            lock.release()
        return settled

    def check(self, limit: Limit) -> None:
        """See `Store.check`: none that remembers more than three numbers."""
        if limit.width > _CELLS and self._alone is None:
            raise TypeError(
                f"{limit.name} remembers {limit.width} numbers a key, which is too many for counts "
                "that processes share: take a Gcra, or a window"
            )

    async def close(self) -> None:
        """See `Store.close`."""
        self._file.close()

    def evicted(self) -> int:
        """How often a key was forgotten that owed, by all processes."""
        return int(self._words[EVICTED])

    def _hashed(self, ask: Ask) -> tuple[int, tuple[int, int]]:
        """The mark of the key, and its two rows."""
        text = f"{identity(ask.limit)}\n{ask.key}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=16, key=self._salt).digest()
        mark = int.from_bytes(digest[:8], "little") >> 1 or 1
        first = int.from_bytes(digest[8:12], "little") % self._rows
        second = int.from_bytes(digest[12:], "little") % self._rows
        return mark, (first, second if second != first else (first + 1) % self._rows)

    def _find(self, mark: int, rows: tuple[int, int], now: int, taken: Sequence[int]) -> int:
        """The place of a key, which is made when it is new; none that is *taken*."""
        words = self._words
        best: tuple[int, int] | None = None  # what is owed there, and where
        for at in self._each(rows):
            found = words[at]
            if found == mark:
                return at
            owes = max(0, words[at + 1] - now) if found else -1
            if at not in taken and (best is None or owes < best[0]):
                best = (owes, at)
        assert best is not None
        owes, at = best
        words[EVICTED] += owes > 0
        # The mark goes first: who dies here leaves an empty place, never another's state.
        for word in range(at, at + _WIDTH):
            words[word] = 0
        words[at] = mark
        return at

    def _each(self, rows: tuple[int, int]) -> Iterator[int]:
        for row in rows:
            begin = _HEADER + row * _ROW * _WIDTH
            yield from range(begin, begin + _ROW * _WIDTH, _WIDTH)
