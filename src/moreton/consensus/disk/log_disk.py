"""The durable part of one node, in a folder of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import Entry, HardState, NodeId, SnapshotMeta
from moreton.consensus.core.state import Recovered
from moreton.consensus.disk.errors import (
    DiskError,
    DiskFailing,
    DiskFull,
    LogDamaged,
    translated,
)
from moreton.consensus.disk.files import TEMPORARY, Files
from moreton.consensus.disk.identity import (
    FolderLock,
    Identity,
    check_identity,
)
from moreton.consensus.disk.records import Folded, encode_records
from moreton.consensus.disk.segments import (
    OpenSegment,
    Segment,
    read_segment,
    segment_paths,
)
from moreton.consensus.disk.snapshot_files import (
    read_snapshot_file,
    snapshot_paths,
    write_snapshot_file,
)

# A segment that is larger is followed by the next.
SEGMENT_BYTES = 16 * 1024 * 1024


class LogDisk:
    """A `Disk` in *folder*, made by `found` or `join`, of *node* of *cluster*.

    Every method but the constructor raises a `DiskError`. After one of a write or a sync nothing
    more is written: what the operating system says about such data afterwards cannot be believed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cluster: str,
        node: NodeId,
        segment_bytes: int = SEGMENT_BYTES,
        files: Files | None = None,
    ) -> None:
        self._folder = folder
        self._identity = Identity(cluster, node)
        self._segment_bytes = segment_bytes
        self._files = files or Files()
        self._lock: FolderLock | None = None
        self._open: OpenSegment | None = None
        self._closed: list[
            tuple[Path, int, int]
        ] = []  # path, highest index, size; the oldest first
        self._hard_state = HardState()
        self._lazy: list[Persist] = []
        self._failure: DiskError | None = None
        self._snapshots = threading.Lock()  # guards the two below
        self._newest: tuple[int, Path] | None = None
        self._snapshot_bytes = 0

    def load(self) -> tuple[Recovered, bytes | None]:
        """What is there, checked, and fit to be written to. Takes the folder's lock."""
        # First whose it is: nothing, not even a lock, is left in a folder that is not ours.
        check_identity(self._folder, self._identity, self._files)
        self._lock = FolderLock(self._folder)
        try:
            self._remove_unfinished()
            found = self._load_snapshot()
            snapshot, data = found if found is not None else (SnapshotMeta(), None)
            folded = self._load_segments(snapshot)
        except OSError as error:
            raise translated(error, self._folder) from error
        self._check(folded, snapshot)
        return Recovered(self._hard_state, snapshot, tuple(folded.entries)), data

    def write(self, records: Sequence[Persist]) -> None:
        """Write *records* in one frame and sync it; what needs no sync waits for the next."""
        self._lazy += records
        if any(record.sync for record in records):
            self._write_lazy()

    def write_snapshot(self, snapshot: SnapshotMeta, data: bytes) -> None:
        """Keep it unless a newer one is here; the older ones go."""
        with self._snapshots:
            self._check_failure()
            if self._newest is not None and self._newest[0] >= snapshot.index:
                return
            try:
                path = write_snapshot_file(
                    self._folder, self._identity, snapshot, data, self._files
                )
                self._newest, self._snapshot_bytes = (snapshot.index, path), len(data)
                self._remove_older_snapshots()
            except OSError as error:
                failure = translated(error, self._folder)
                if not isinstance(failure, DiskFull):  # the log is as it was, and goes on
                    self._failure = failure
                raise failure from error

    def read_snapshot(self) -> tuple[SnapshotMeta, bytes] | None:
        """The newest snapshot, checked."""
        with self._snapshots:
            if self._newest is None:
                return None
            try:
                return read_snapshot_file(self._newest[1], self._identity, self._files)
            except OSError as error:
                raise translated(error, self._newest[1]) from error

    def compact(self, index: int) -> None:
        """Remove the oldest segments that hold nothing above *index*."""
        self._check_failure()
        try:
            while self._closed and self._closed[0][1] <= index:
                self._files.remove(self._closed.pop(0)[0])
        except OSError as error:
            raise self._failed(error) from error

    def size_bytes(self) -> int:
        """All segments and the newest snapshot."""
        current = self._open.size if self._open is not None else 0
        return sum(size for _, _, size in list(self._closed)) + current + self._snapshot_bytes

    def close(self) -> None:
        """Write what waits, unless a write failed, and unlock the folder. Idempotent."""
        if self._lazy and self._failure is None and self._open is not None:
            with suppress(DiskError):  # a commit index at most: it will be found again
                self._write_lazy()
        with self._snapshots:
            if self._open is not None:
                self._open.close()
                self._open = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    # --- writing ------------------------------------------------------------------------------

    def _write_lazy(self) -> None:
        self._check_failure()
        assert self._open is not None, "a disk is loaded before it is written to"
        records, self._lazy = self._lazy, []
        highest = max((_highest(record) for record in records), default=0)
        for record in records:
            self._hard_state = record.hard_state or self._hard_state
        try:
            if self._open.size >= self._segment_bytes:
                self._roll_over(records, highest=highest)
            else:
                self._open.append(encode_records(records), highest=highest)
        except OSError as error:
            raise self._failed(error) from error

    def _roll_over(self, records: Sequence[Persist], *, highest: int) -> None:
        assert self._open is not None, "a disk is loaded before it is written to"
        old = self._open
        first = encode_records([*records, Persist(0, self._hard_state)])
        self._begin_segment(old.number + 1, after=old.checksum, first=first, highest=highest)
        old.close()
        self._closed.append((old.path, old.highest, old.size))

    def _begin_segment(self, number: int, *, after: int, first: bytes, highest: int) -> None:
        self._open = OpenSegment(
            self._folder,
            number,
            identity=self._identity,
            after=after,
            first=first,
            files=self._files,
        )
        self._open.highest = highest

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise DiskFailing(
                path=self._folder, reason="an earlier write failed"
            ) from self._failure

    def _failed(self, error: OSError) -> DiskError:
        self._failure = translated(error, self._folder)
        return self._failure

    def _remove_older_snapshots(self) -> None:
        assert self._newest is not None, "the newest snapshot is known when older ones go"
        for path in snapshot_paths(self._folder):
            if path.name < self._newest[1].name:
                self._files.remove(path)

    # --- loading ------------------------------------------------------------------------------

    def _remove_unfinished(self) -> None:
        for path in self._folder.glob(f"*{TEMPORARY}"):
            self._files.remove(path)

    def _load_snapshot(self) -> tuple[SnapshotMeta, bytes] | None:
        paths = snapshot_paths(self._folder)
        if not paths:
            return None
        snapshot, data = read_snapshot_file(paths[-1], self._identity, self._files)
        self._newest, self._snapshot_bytes = (snapshot.index, paths[-1]), len(data)
        self._remove_older_snapshots()
        return snapshot, data

    def _load_segments(self, snapshot: SnapshotMeta) -> Folded:
        """Fold all segments, cut off what a crash tore, and begin the next segment."""
        paths = segment_paths(self._folder)
        if not paths:
            raise LogDamaged(path=self._folder, offset=0, reason="it holds no segment of a log")
        folded = Folded()
        last: Segment | None = None
        for path in paths:
            segment = read_segment(path, self._identity, self._files)
            _check_follows(last, segment)
            self._closed.append((path, _fold(folded, segment), segment.scanned.end))
            last = segment
        assert last is not None, "there is at least one path"
        self._go_on(folded, last, snapshot)
        return folded

    def _go_on(self, folded: Folded, last: Segment, snapshot: SnapshotMeta) -> None:
        self._hard_state = folded.hard_state
        start = Persist(0, folded.hard_state)
        if not folded.leads_to(snapshot):
            # The crash came before the record that says so, or the state machine was ahead of its
            # own disk. What is written next follows the snapshot, not the end of this log.
            start = replace(start, snapshot=snapshot)
            folded.replace(snapshot)
        # The last frame is written once more: if its sync failed before the crash, it was read
        # from memory just now, and the disk itself may not have it.
        first, state = last.scanned.payloads[-1], encode_records([start])
        if not first.endswith(state):
            first += state
        highest = self._closed[-1][1]
        if len(last.scanned.payloads) == 1:
            # A start that nothing followed: the new segment takes its place, with all it holds.
            self._closed.pop()
            self._begin_segment(last.number, after=last.after, first=first, highest=highest)
            return
        if last.scanned.torn:
            self._files.cut(last.path, last.scanned.end)
        after = last.scanned.chain.checksum
        self._begin_segment(last.number + 1, after=after, first=first, highest=highest)

    def _check(self, folded: Folded, snapshot: SnapshotMeta) -> None:
        """Bring the snapshot and the log together, or refuse."""
        state = folded.hard_state
        path = segment_paths(self._folder)[-1]
        if folded.entries and folded.entries[0].index > snapshot.index + 1:
            reason = (
                f"the log begins at {folded.entries[0].index}, the snapshot is {snapshot.index}"
            )
            raise LogDamaged(path=path, offset=0, reason=reason)
        if folded.replaced_at > snapshot.index:
            reason = f"the snapshot at {folded.replaced_at} is missing"
            raise LogDamaged(path=path, offset=0, reason=reason)
        if state.commit > max(folded.last_index, snapshot.index):
            reason = f"it ends at {folded.last_index}, but {state.commit} were committed"
            raise LogDamaged(path=path, offset=0, reason=reason)
        if state.term < snapshot.term:
            # It arrived, and the crash came before its term was written: nobody was given a vote
            # in that term, or it would have been.
            state = HardState(snapshot.term, None, state.commit)
        self._hard_state = replace(state, commit=max(state.commit, snapshot.index))


def _fold(folded: Folded, segment: Segment) -> int:
    highest = 0
    for payload in segment.scanned.payloads:
        try:
            highest = max(highest, folded.add(payload))
        except ValueError as error:
            raise LogDamaged(path=segment.path, offset=0, reason=str(error)) from error
    return highest


def _check_follows(last: Segment | None, segment: Segment) -> None:
    if last is None:
        return
    if segment.number != last.number + 1:
        reason = f"segment {last.number + 1} is missing before it"
        raise LogDamaged(path=segment.path, offset=0, reason=reason)
    if last.scanned.torn or segment.after != last.scanned.chain.checksum:
        reason = f"its end is missing: segment {segment.number} follows another one"
        raise LogDamaged(path=last.path, offset=last.scanned.end, reason=reason)


def _highest(record: Persist) -> int:
    entries: tuple[Entry, ...] = record.entries
    index = entries[-1].index if entries else 0
    return max(index, record.snapshot.index if record.snapshot else 0)
