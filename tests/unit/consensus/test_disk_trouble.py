"""Disks that fill up, fail, and lose power at any moment: what was acknowledged is there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import Configuration, Entry, HardState, SnapshotMeta
from moreton.consensus.core.state import Recovered
from moreton.consensus.disk import DiskFailing, DiskFull, LogDisk, found
from moreton.consensus.disk.files import Files

pytestmark = pytest.mark.slow

CLUSTER = "c"
VOTERS = Configuration(voters=frozenset({1}))


class FailingFiles(Files):
    """Call number *fail_at* fails with *error*, a write after half of its bytes. Syncs nothing."""

    def __init__(self, fail_at: int, error: int) -> None:
        self.calls = 0
        self._fail_at = fail_at
        self._error = error

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._fail_at:
            raise OSError(self._error, os.strerror(self._error))

    def create(self, path: Path) -> int:
        self._count()
        return super().create(path)

    def write(self, descriptor: int, data: bytes) -> None:
        if self.calls + 1 == self._fail_at:
            super().write(descriptor, data[: len(data) // 2])
        self._count()
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:  # noqa: ARG002 - the port's names
        self._count()

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._count()
        super().remove(path)

    def sync_folder(self, path: Path) -> None:  # noqa: ARG002 - the port's names
        self._count()

    def cut(self, path: Path, size: int) -> None:
        self._count()
        os.truncate(path, size)


class LosingFiles(Files):
    """Keeps in *crash* what was synced, and by chance some of what was not; sectors may be missing.

    Names that were not synced may be the old ones; the power goes after *calls_left* calls.
    """

    def __init__(self, rng: Random, calls_left: int) -> None:
        self._rng = rng
        self._calls_left = calls_left
        self._paths: dict[int, Path] = {}
        self._synced: dict[Path, int] = {}  # bytes, of files that were written to
        self._undo: list[Callable[[], None]] = []
        self.lost = 0

    def _spend(self) -> None:
        self._calls_left -= 1
        if self._calls_left < 0:
            raise PowerLost

    def create(self, path: Path) -> int:
        self._spend()
        descriptor = super().create(path)
        self._paths[descriptor] = path
        self._synced[path] = 0
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        try:
            self._spend()
        except PowerLost:
            super().write(descriptor, data[: self._rng.randrange(len(data) + 1)])
            raise
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._spend()
        path = self._paths[descriptor]
        self._synced[path] = path.stat().st_size

    def rename(self, old: Path, new: Path) -> None:
        self._spend()
        before = new.read_bytes() if new.exists() else None
        super().rename(old, new)
        self._synced[new] = self._synced.pop(old)
        self._paths = {d: new if path == old else path for d, path in self._paths.items()}

        def undo() -> None:
            new.rename(old)
            if before is not None:
                new.write_bytes(before)

        self._undo.append(undo)

    def remove(self, path: Path) -> None:
        self._spend()
        if path.exists():
            before = path.read_bytes()
            super().remove(path)
            self._synced.pop(path, None)
            self._undo.append(lambda: self._put_back(path, before))

    def sync_folder(self, path: Path) -> None:  # noqa: ARG002 - the port's names
        self._spend()
        self._undo.clear()

    def cut(self, path: Path, size: int) -> None:
        self._spend()
        os.truncate(path, size)
        self._synced.pop(path, None)

    def crash(self) -> None:
        """What the next start finds."""
        for path, synced in self._synced.items():
            self._lose(path, synced)
        # A file system brings names back from the newest on, or not at all.
        for undo in reversed(self._undo[self._rng.randrange(len(self._undo) + 1) :]):
            undo()

    def _lose(self, path: Path, synced: int) -> None:
        data = path.read_bytes()
        if len(data) == synced:
            return
        self.lost += 1
        kept = self._rng.randrange(synced, len(data) + 1)
        image = bytearray(data[:kept])
        start = synced
        while start < kept:
            stop = min(kept, (start // 512 + 1) * 512)
            if self._rng.random() < 0.3:
                image[start:stop] = bytes(stop - start)
            start = stop
        path.write_bytes(image)

    @staticmethod
    def _put_back(path: Path, data: bytes) -> None:
        path.write_bytes(data)


class PowerLost(BaseException):
    """Everything stops here."""


class Workload:
    """Appends, overwrites, votes, takes snapshots; remembers what was acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[int, Entry] = {}
        self.state = HardState(1, None, 1)
        self.snapshot = 1
        self.steps = 0
        self.asked: tuple[list[Entry], HardState, int] = ([], self.state, 1)

    def run(self, disk: LogDisk, rng: Random, steps: int) -> None:
        for _ in range(steps):
            self.step(disk, rng)

    def step(self, disk: LogDisk, rng: Random) -> None:
        last = max(self.entries, default=self.snapshot)
        term = self.state.term + rng.randrange(2)
        first = rng.randrange(max(self.state.commit, self.snapshot) + 1, last + 2)
        size = rng.choice([1, 30, 700])
        self.steps += 1
        new = [
            Entry(term, index, data=b"%d" % self.steps + rng.choice([b"x", b"\0"]) * size)
            for index in range(first, first + rng.randrange(1, 5))
        ]
        state = HardState(term, rng.choice([None, 1]), min(last, first - 1))
        self.asked = (new, state, self.snapshot)
        disk.write([Persist(0, HardState(term), sync=False), Persist(1, state, tuple(new))])
        self.acknowledge(new, state)
        if rng.random() < 0.2 and state.commit > self.snapshot:
            self.asked = ([], state, state.commit)
            meta = SnapshotMeta(state.commit, self.entries[state.commit].term, VOTERS)
            disk.write_snapshot(meta, b"%d" % meta.index * 300)
            self.snapshot = meta.index
            disk.compact(meta.index - 2)

    def acknowledge(self, new: list[Entry], state: HardState) -> None:
        first = new[0].index
        self.entries = {i: e for i, e in self.entries.items() if i < first}
        self.entries |= {entry.index: entry for entry in new}
        self.state = state

    def check(self) -> None:
        """Open the folder again: what was acknowledged is there, or what was asked for last."""
        disk = opened(self.folder, FailingFiles(0, 0))
        try:
            recovered, data = disk.load()
            new, state, snapshot = self.asked
            assert recovered.snapshot.index in {self.snapshot, snapshot}
            if recovered.snapshot.index > 1:
                assert data == b"%d" % recovered.snapshot.index * 300
            if recovered.hard_state.term == state.term and new and self._has(recovered, new):
                self.acknowledge(new, state)
            else:
                assert recovered.hard_state.term == self.state.term
                assert recovered.hard_state.vote == self.state.vote
            after = recovered.snapshot.index
            expected = [entry for index, entry in self.entries.items() if index > after]
            assert [entry for entry in recovered.entries if entry.index > after] == expected
            self.snapshot = recovered.snapshot.index
        finally:
            disk.close()

    @staticmethod
    def _has(recovered: Recovered, new: list[Entry]) -> bool:
        there = {entry.index: entry for entry in recovered.entries}
        return all(there.get(entry.index) == entry for entry in new)


def make(folder: Path) -> Workload:
    found(folder, cluster=CLUSTER, node=1, voters=[1], data=b"first", files=FailingFiles(0, 0))
    return Workload(folder)


def opened(folder: Path, files: Files) -> LogDisk:
    return LogDisk(folder, cluster=CLUSTER, node=1, segment_bytes=3000, files=files)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_whichever_call_of_the_disk_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, error: int
) -> None:
    failed = 0
    for fail_at in range(1, 101):
        folder = tmp_path / str(fail_at)
        work = make(folder)
        disk = opened(folder, FailingFiles(fail_at, error))
        try:
            disk.load()
            work.run(disk, Random(fail_at // 7), steps=25)
        except DiskFull:
            failed += error == errno.ENOSPC
        except DiskFailing:
            failed += error == errno.EIO
        finally:
            disk.close()
        work.check()
    assert failed > 90


def test_after_a_failed_sync_nothing_more_is_written(tmp_path: Path) -> None:
    class SyncFails(Files):
        failing = False

        def sync(self, descriptor: int) -> None:  # noqa: ARG002 - the port's names
            if self.failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    make(tmp_path)
    files = SyncFails()
    disk = opened(tmp_path, files)
    disk.load()
    disk.write([Persist(1, entries=(Entry(1, 2),))])
    files.failing = True
    with pytest.raises(DiskFailing, match=r"Input/output error.*does not try again"):
        disk.write([Persist(2, entries=(Entry(1, 3),))])
    files.failing = False
    with pytest.raises(DiskFailing, match="an earlier write failed"):
        disk.write([Persist(3, entries=(Entry(1, 4),))])
    with pytest.raises(DiskFailing, match="an earlier write failed"):
        disk.write_snapshot(SnapshotMeta(2, 1, VOTERS), b"")
    with pytest.raises(DiskFailing, match="an earlier write failed"):
        disk.compact(2)
    disk.close()


def crash_points() -> Iterator[tuple[int, int]]:
    for seed in range(6):
        for calls in range(1, 120, 3):
            yield seed, calls + seed % 3


@pytest.mark.slow
@pytest.mark.long
def test_power_lost_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    lost = 0
    for seed, calls in crash_points():
        folder = tmp_path / f"{seed}-{calls}"
        work = make(folder)
        rng = Random(f"{seed} {calls}")
        for round_ in range(3):
            files = LosingFiles(rng, calls if round_ else calls // 2)
            disk = opened(folder, files)
            try:
                disk.load()
                work.run(disk, rng, steps=100)
            except PowerLost:
                pass
            finally:
                with suppress(PowerLost):
                    disk.close()
            files.crash()
            lost += files.lost
            try:
                work.check()
            except BaseException:
                print(f"seed {seed}, {calls} calls, round {round_}")
                raise
    assert lost > 150
