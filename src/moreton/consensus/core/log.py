"""The log in memory: what is kept of it, and how far it is committed and handed out.

Indices count from 1 and never have gaps. Everything up to `base_index` is compacted away; the
term of that one entry is still known, so that the next can be told to follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moreton.consensus.core.messages import Entry, SnapshotMeta

# What an entry costs in a message beside its data: term, index, kind and length.
ENTRY_OVERHEAD_BYTES = 24


def entry_bytes(entry: Entry) -> int:
    """The share of *entry* in every limit that is given in bytes."""
    return ENTRY_OVERHEAD_BYTES + len(entry.data)


class Log:
    """Entries after a snapshot, or after the part of the log that is still kept before it."""

    __slots__ = (
        "_entries",
        "_unwritten",
        "applied",
        "base_index",
        "base_term",
        "committed",
        "handed_out",
        "snapshot",
    )

    def __init__(self, snapshot: SnapshotMeta, entries: Iterable[Entry] = ()) -> None:
        self.snapshot = snapshot
        self.base_index, self.base_term = snapshot.index, snapshot.term
        self._entries = list(entries)
        if self._entries and self._entries[0].index <= snapshot.index:
            self._adopt_entries_before_snapshot()
        self._check_contiguous(self._entries, self.first_index)
        self._unwritten = self.last_index + 1
        self.committed = self.handed_out = self.applied = snapshot.index

    @property
    def first_index(self) -> int:
        """The index of the first entry that is kept, or would be."""
        return self.base_index + 1

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self._entries[-1].term if self._entries else self.base_term

    @property
    def committed_term(self) -> int:
        """The term of the last entry that is committed."""
        return self.term(self.committed) or 0

    def term(self, index: int) -> int | None:
        """The term of the entry at *index*; `None` if it is compacted away or not there yet."""
        if index == self.base_index:
            return self.base_term
        if index < self.base_index or index > self.last_index:
            return None
        return self._entries[index - self.first_index].term

    def matches(self, index: int, term: int) -> bool:
        """Whether the entry at *index* is known to be of *term*."""
        return self.term(index) == term

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so has at least what this one has (section 3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def entries(self, start: int, stop: int | None = None) -> Sequence[Entry]:
        """The kept entries in [*start*, *stop*)."""
        end = None if stop is None else stop - self.first_index
        return self._entries[start - self.first_index : end]

    def entries_within(self, start: int, stop: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from *start* before *stop*: at least one if there is, then up to *bytes_max*."""
        total = 0
        end = start
        while end < stop:
            total += entry_bytes(self._entries[end - self.first_index])
            if end > start and total > bytes_max:
                break
            end += 1
        return tuple(self.entries(start, end))

    def count_within(self, last: int, count_max: int, bytes_max: int) -> int:
        """How many kept entries up to *last*, the newest first, are within both bounds."""
        total, index = 0, last
        while index > max(self.base_index, last - count_max):
            total += entry_bytes(self._entries[index - self.first_index])
            if total > bytes_max:
                break
            index -= 1
        return last - index

    def append(self, entries: Sequence[Entry]) -> None:
        """Add *entries* at the end, as a leader does, which never overwrites its own."""
        self._check_contiguous(entries, self.last_index + 1)
        self._entries += entries

    def merge(self, entries: Sequence[Entry]) -> None:
        """Take *entries* that follow a matching one: drop what conflicts, add what is new.

        What is there already stays untouched: an old message must not shorten the log.
        """
        for position, entry in enumerate(entries):
            if not self.matches(entry.index, entry.term):
                if entry.index <= self.last_index:
                    self._truncate(entry.index)
                self.append(entries[position:])
                return

    def last_possible_match(self, index: int, term: int) -> int:
        """The highest index up to *index* whose entry is of *term* or an older one.

        An index whose term is unknown ends the search: it may match.
        """
        index = min(index, self.last_index)
        while index > 0:
            known = self.term(index)
            if known is None or known <= term:
                break
            index -= 1
        return index

    @property
    def has_unwritten(self) -> bool:
        """Whether there are entries that have not been given to the disk yet."""
        return self._unwritten <= self.last_index

    def take_unwritten(self) -> tuple[Entry, ...]:
        """What has not been given to the disk yet; it counts as given from now on."""
        start, self._unwritten = self._unwritten, self.last_index + 1
        return tuple(self.entries(start)) if start < self._unwritten else ()

    def take_committed(self, bytes_max: int) -> tuple[Entry, ...]:
        """What is committed and not handed out yet, up to *bytes_max*; it counts as handed out."""
        start, stop = self.handed_out + 1, self.committed + 1
        if start >= stop:
            return ()
        taken = self.entries_within(start, stop, bytes_max)
        self.handed_out = taken[-1].index
        return taken

    def compact(self, index: int) -> None:
        """Forget the entries up to *index*, which a snapshot covers."""
        if index <= self.base_index:
            return
        term = self.term(index)
        assert term is not None, f"compaction to {index} beyond the end {self.last_index}"
        assert index <= self.snapshot.index, f"compaction to {index} without a snapshot"
        del self._entries[: index - self.base_index]
        self.base_index, self.base_term = index, term

    def restore(self, snapshot: SnapshotMeta) -> None:
        """Begin anew after *snapshot*, which the leader sent."""
        self.snapshot = snapshot
        self._entries = []
        self.base_index, self.base_term = snapshot.index, snapshot.term
        self._unwritten = snapshot.index + 1
        self.committed = self.handed_out = snapshot.index

    def _adopt_entries_before_snapshot(self) -> None:
        """Keep what lies before the snapshot, for slow followers, if it leads up to it."""
        offset = self.snapshot.index - self._entries[0].index
        if offset < len(self._entries) and self._entries[offset].term == self.snapshot.term:
            base = self._entries.pop(0)
            self.base_index, self.base_term = base.index, base.term
        else:  # the leader's snapshot replaced a log that ended elsewhere
            self._entries = []

    def _truncate(self, index: int) -> None:
        assert index > self.committed, (
            f"entry {index} conflicts with one that is committed, up to {self.committed}"
        )
        del self._entries[index - self.first_index :]
        self._unwritten = min(self._unwritten, index)

    @staticmethod
    def _check_contiguous(entries: Sequence[Entry], start: int) -> None:
        for offset, entry in enumerate(entries):
            assert entry.index == start + offset, f"entry {entry.index} where {start + offset} fits"
