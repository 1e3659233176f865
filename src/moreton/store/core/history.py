"""The changes that can still be watched and undone, one batch per revision, without a gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moreton.store.core.keys import covers
from moreton.store.core.model import KeyValue, WatchBatch, WatchEvent

# What an event costs beside its key and value, roughly: objects and references.
_EVENT_BYTES = 400


class History:
    """Batches of consecutive revisions; the newest is last."""

    def __init__(self) -> None:
        self._batches: list[WatchBatch] = []
        self.events = 0
        self.bytes = 0

    def append(self, batch: WatchBatch) -> None:
        """Add the batch of the next revision."""
        assert not self._batches or batch.revision == self._batches[-1].revision + 1
        self._batches.append(batch)
        self._count(batch, 1)

    def pop(self) -> WatchBatch:
        """Take the newest batch back."""
        batch = self._batches.pop()
        self._count(batch, -1)
        return batch

    def batches(self) -> Sequence[WatchBatch]:
        """All of them now, oldest first: a copy of the references."""
        return tuple(self._batches)

    def between(self, first: int, last: int) -> Iterator[WatchBatch]:
        """The batches of revisions first to last, both included, oldest first."""
        if not self._batches:
            return
        oldest = self._batches[0].revision
        stop = min(last - oldest + 1, len(self._batches))
        for index in range(max(first - oldest, 0), stop):
            yield self._batches[index]

    def newest_to(self, revision: int) -> Iterator[WatchBatch]:
        """The batches above *revision*, newest first."""
        for batch in reversed(self._batches):
            if batch.revision <= revision:
                return
            yield batch

    def drop_below(self, revision: int) -> None:
        """Forget what is older; of the batch at *revision* itself, what lay there before."""
        if not self._batches or self._batches[0].revision > revision:
            return
        keep_from = revision - self._batches[0].revision
        for batch in self._batches[: keep_from + 1]:
            self._count(batch, -1)
        oldest = without_prev(self._batches[keep_from])
        self._batches[: keep_from + 1] = [oldest]
        self._count(oldest, 1)

    def revision_to_keep(self, *, events: int, size: int) -> int | None:
        """The oldest revision that may stay if that many events and bytes may; `None`: none.

        O(what must go).
        """
        events_left, bytes_left = self.events, self.bytes
        for batch in self._batches:
            if events_left <= events and bytes_left <= size:
                return batch.revision
            events_left -= len(batch.events)
            bytes_left -= sum(map(_event_bytes, batch.events))
        return None

    def _count(self, batch: WatchBatch, sign: int) -> None:
        self.events += sign * len(batch.events)
        self.bytes += sign * sum(map(_event_bytes, batch.events))


def select(batch: WatchBatch, start: bytes, end: bytes | None) -> WatchBatch | None:
    """The part of *batch* within the range; the batch itself if that is all of it."""
    events = tuple(event for event in batch.events if covers(event.kv.key, start, end))
    if not events:
        return None
    return batch if len(events) == len(batch.events) else WatchBatch(batch.revision, events)


def without_prev(batch: WatchBatch) -> WatchBatch:
    """*batch* as compaction at its revision leaves it: what lay there before is forgotten."""
    events = tuple(WatchEvent(event.kind, event.kv, None) for event in batch.events)
    return WatchBatch(batch.revision, events)


def deleted_at(key: bytes, revision: int) -> KeyValue:
    """The mark that a delete leaves."""
    return KeyValue(key, b"", 0, revision, 0)


def _event_bytes(event: WatchEvent) -> int:
    return _EVENT_BYTES + len(event.kv.key) + len(event.kv.value)
