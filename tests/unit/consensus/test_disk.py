"""A node's folder gives back what it promised, or says which byte keeps it from doing so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import Configuration, Entry, HardState, SnapshotMeta
from moreton.consensus.core.state import Recovered
from moreton.consensus.disk import (
    FolderEmpty,
    FolderInUse,
    FolderNewer,
    FolderNotEmpty,
    FolderOfAnother,
    FolderUnusable,
    Identity,
    LogDamaged,
    LogDisk,
    found,
    join,
    read_identity,
)
from moreton.consensus.disk.files import Files
from moreton.consensus.disk.segments import read_segment
from moreton.consensus.disk.snapshot_files import read_snapshot_file

pytestmark = pytest.mark.slow

CLUSTER = "01k00000000000000000000000"
VOTERS = Configuration(voters=frozenset({1, 2, 3}))


def make(folder: Path) -> Path:
    found(folder, cluster=CLUSTER, node=1, voters=[1, 2, 3], data=b"first")
    return folder


class QuickFiles(Files):
    """Syncs nothing, for tests that open a folder thousands of times; may show other contents."""

    def __init__(self) -> None:
        self.shown: dict[Path, bytes] = {}

    def sync(self, descriptor: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass

    def cut(self, path: Path, size: int) -> None:
        os.truncate(path, size)

    def read(self, path: Path) -> bytes:
        return self.shown.get(path) or super().read(path)


@contextmanager
def opened(
    folder: Path, *, segment_bytes: int = 1 << 20, files: Files | None = None
) -> Iterator[tuple[LogDisk, Recovered]]:
    disk = LogDisk(folder, cluster=CLUSTER, node=1, segment_bytes=segment_bytes, files=files)
    try:
        yield disk, disk.load()[0]
    finally:
        disk.close()


def entries(first: int, last: int, *, term: int = 1, data: bytes = b"x") -> tuple[Entry, ...]:
    return tuple(Entry(term, index, data=data) for index in range(first, last + 1))


def append(first: int, last: int, *, term: int = 1, data: bytes = b"x") -> Persist:
    return Persist(last, entries=entries(first, last, term=term, data=data))


def recovered(folder: Path, *, files: Files | None = None) -> Recovered:
    with opened(folder, files=files) as (_, state):
        return state


def test_a_founded_folder_holds_the_first_snapshot(tmp_path: Path) -> None:
    with opened(make(tmp_path)) as (disk, state):
        assert state == Recovered.first(VOTERS)
        assert disk.read_snapshot() == (state.snapshot, b"first")


def test_a_joining_folder_is_empty_until_it_is_written_to(tmp_path: Path) -> None:
    join(tmp_path, cluster=CLUSTER, node=1)
    assert recovered(tmp_path) == Recovered()


def test_what_was_written_is_read_back_however_often_it_is_opened(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path) as (disk, _):
        disk.write([append(2, 4), Persist(5, HardState(3, 2, 3))])
        disk.write([append(5, 9)])
    for _ in range(3):
        state = recovered(tmp_path)
        assert state.entries == entries(2, 9)
        assert state.hard_state == HardState(3, 2, 3)


def test_entries_replace_everything_from_the_first_of_them(tmp_path: Path) -> None:
    with opened(make(tmp_path)) as (disk, _):
        disk.write([append(2, 9)])
        disk.write([append(5, 6, term=2), append(7, 7, term=2)])
    assert recovered(tmp_path).entries == entries(2, 4) + entries(5, 7, term=2)


def test_what_needs_no_sync_comes_with_the_next_that_does_and_at_the_end(tmp_path: Path) -> None:
    commit = HardState(1, None, 2)
    with opened(make(tmp_path)) as (disk, _):
        disk.write([append(2, 3)])
        before = disk.size_bytes()
        disk.write([Persist(4, commit, sync=False)])
        assert disk.size_bytes() == before
    assert recovered(tmp_path).hard_state == commit


def test_segments_follow_each_other_and_go_when_a_snapshot_covers_them(tmp_path: Path) -> None:
    make(tmp_path)
    snapshot = SnapshotMeta(80, 1, VOTERS)
    with opened(tmp_path, segment_bytes=2000) as (disk, _):
        for index in range(2, 100):
            disk.write([append(index, index, data=b"x" * 100)])
        full = disk.size_bytes()
        assert len(list(tmp_path.glob("*.log"))) > 5
        disk.write_snapshot(snapshot, b"state")
        disk.compact(70)
        assert disk.size_bytes() < full / 2
    state = recovered(tmp_path)
    assert state.snapshot == snapshot
    assert 50 < state.entries[0].index <= 71
    assert state.entries[-1].index == 99


def test_a_snapshot_from_the_leader_replaces_the_log(tmp_path: Path) -> None:
    snapshot = SnapshotMeta(50, 3, VOTERS)
    with opened(make(tmp_path)) as (disk, _):
        disk.write([append(2, 60)])
        disk.write_snapshot(snapshot, b"state")
        disk.write([Persist(2, HardState(3, None, 50), snapshot=snapshot)])
        disk.write([append(51, 52, term=3)])
    state = recovered(tmp_path)
    assert state.snapshot == snapshot
    assert state.entries == entries(51, 52, term=3)


def test_a_snapshot_counts_though_the_crash_came_before_its_record(tmp_path: Path) -> None:
    snapshot = SnapshotMeta(50, 3, VOTERS)
    with opened(make(tmp_path)) as (disk, _):
        disk.write([append(2, 9)])
        disk.write_snapshot(snapshot, b"state")
    state = recovered(tmp_path)
    assert state.snapshot == snapshot
    assert state.hard_state == HardState(3, None, 50)


def test_an_older_snapshot_is_not_taken_for_a_newer_one(tmp_path: Path) -> None:
    with opened(make(tmp_path)) as (disk, _):
        disk.write_snapshot(SnapshotMeta(9, 1, VOTERS), b"new")
        disk.write_snapshot(SnapshotMeta(7, 1, VOTERS), b"old")
        assert disk.read_snapshot() == (SnapshotMeta(9, 1, VOTERS), b"new")
        assert len(list(tmp_path.glob("*.snapshot"))) == 1


def test_what_a_crash_left_unfinished_is_removed(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "0000000000000009.snapshot.new").write_bytes(b"half")
    (tmp_path / "0000000000000007.log.new").write_bytes(b"")
    assert recovered(tmp_path) == Recovered.first(VOTERS)
    assert not list(tmp_path.glob("*.new"))


def test_many_starts_leave_no_files_behind(tmp_path: Path) -> None:
    make(tmp_path)
    for _ in range(10):
        recovered(tmp_path)
    assert len(list(tmp_path.glob("*.log"))) == 1


# --- whose folder it is -------------------------------------------------------------------------


def test_a_second_process_is_kept_out_by_name(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path), pytest.raises(FolderInUse, match="in use by process"):
        recovered(tmp_path)
    recovered(tmp_path)


@pytest.mark.parametrize(("cluster", "node"), [(CLUSTER, 2), ("01k99999999999999999999999", 1)])
def test_the_folder_of_another_node_or_cluster_is_left_alone(
    tmp_path: Path, cluster: str, node: int
) -> None:
    make(tmp_path)
    disk = LogDisk(tmp_path, cluster=cluster, node=node)
    with pytest.raises(FolderOfAnother, match=f"node 1 of cluster {CLUSTER}"):
        disk.load()
    disk.close()
    assert recovered(tmp_path) == Recovered.first(VOTERS)


def test_a_lost_folder_does_not_start_and_says_to_join_under_a_new_id(tmp_path: Path) -> None:
    disk = LogDisk(tmp_path, cluster=CLUSTER, node=1)
    with pytest.raises(FolderEmpty, match="remove it there and join again under a new id"):
        disk.load()
    disk.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", ["*.log", "*.snapshot", "identity"])
def test_a_folder_that_lost_some_files_does_not_start(tmp_path: Path, kept: str) -> None:
    make(tmp_path)
    with opened(tmp_path) as (disk, _):
        disk.write([append(2, 3), Persist(4, HardState(1, 1, 3))])
    for path in set(tmp_path.iterdir()) - set(tmp_path.glob(kept)):
        path.unlink()
    with pytest.raises((FolderEmpty, LogDamaged)):
        recovered(tmp_path)


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    from moreton.consensus.disk import identity  # noqa: PLC0415 - its checksum, for another text

    make(tmp_path)
    text = (tmp_path / "identity").read_bytes().replace(b"raft 1", b"raft 2")
    text = text[: text.index(b"checksum")]
    (tmp_path / "identity").write_bytes(text + identity._checksum_line(text))
    with pytest.raises(FolderNewer, match="has format 2 and this version knows up to 1"):
        recovered(tmp_path)


def test_no_node_is_made_where_something_is(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(FolderNotEmpty, match="identity"):
        join(tmp_path, cluster=CLUSTER, node=4)
    assert read_identity(tmp_path).node == 1
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "someone's").touch()
    with pytest.raises(FolderNotEmpty, match="holds someone's already"):
        join(tmp_path / "below", cluster=CLUSTER, node=4)
    assert len(list((tmp_path / "below").iterdir())) == 1


@pytest.mark.parametrize("name", ["file", "nowhere"])
def test_a_path_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FolderUnusable, match=name):
        recovered(tmp_path / name)
    with pytest.raises(FolderUnusable, match="file"):
        make(tmp_path / "file" / "below")


# --- crashes and damage -------------------------------------------------------------------------


def write_two(folder: Path, data: bytes) -> tuple[Path, int]:
    """A folder with two frames after the first; its last segment, and where the second begins."""
    make(folder)
    with opened(folder) as (disk, _):
        disk.write([append(2, 3, data=data)])
        (path,) = sorted(folder.glob("*.log"))
        middle = path.stat().st_size
        disk.write([append(4, 6, data=data), Persist(7, HardState(2, 1, 3))])
    return path, middle


def replace_log(folder: Path, path: Path, data: bytes) -> None:
    for one in folder.glob("*.log"):
        one.unlink()
    path.write_bytes(data)


LETTERS_AND_ZEROS = pytest.mark.parametrize(
    "data", [b"x" * 30, bytes(300)], ids=["letters", "zeros"]
)


@pytest.mark.slow
@LETTERS_AND_ZEROS
def test_a_write_cut_off_at_any_byte_is_as_if_it_had_not_begun(tmp_path: Path, data: bytes) -> None:
    path, middle = write_two(tmp_path, data)
    whole = path.read_bytes()
    for cut in range(middle, len(whole)):
        replace_log(tmp_path, path, whole[:cut])
        for _ in range(1 if cut % 50 else 2):
            state = recovered(tmp_path, files=QuickFiles())
            assert state.entries == entries(2, 3, data=data), cut


@LETTERS_AND_ZEROS
def test_a_write_of_which_any_sectors_are_missing_is_as_if_it_had_not_begun(
    tmp_path: Path, data: bytes
) -> None:
    path, middle = write_two(tmp_path, data * 5)
    whole = path.read_bytes()
    starts = [middle, *range((middle // 512 + 1) * 512, len(whole), 512)]
    sectors = list(pairwise([*starts, len(whole)]))
    assert 2 <= len(sectors) < 30
    for first in range(len(sectors)):
        for last in range(first, len(sectors)):
            start, stop = sectors[first][0], sectors[last][1]
            torn = whole[:start] + bytes(stop - start) + whole[stop:]
            replace_log(tmp_path, path, torn)
            state = recovered(tmp_path, files=QuickFiles())
            assert state.entries == entries(2, 3, data=data * 5), (first, last)


@LETTERS_AND_ZEROS
def test_every_single_flipped_bit_of_a_folder_is_found(tmp_path: Path, data: bytes) -> None:
    path, _ = write_two(tmp_path, data)
    (snapshot,) = tmp_path.glob("*.snapshot")
    files, me = QuickFiles(), Identity(CLUSTER, 1)
    for victim, read in (
        (path, lambda: read_segment(path, me, files)),
        (snapshot, lambda: read_snapshot_file(snapshot, me, files)),
        (tmp_path / "identity", lambda: read_identity(tmp_path, files)),
    ):
        whole = victim.read_bytes()
        for bit in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            files.shown = {victim: bytes(flipped)}
            with pytest.raises(LogDamaged) as refusal:
                read()
            assert refusal.value.path == victim, (victim, bit)
            if bit % 997 == 0:  # and the node does not start
                with pytest.raises(LogDamaged):
                    recovered(tmp_path, files=files)
    assert recovered(tmp_path).entries == entries(2, 6, data=data)


def test_damage_is_named_by_file_and_byte(tmp_path: Path) -> None:
    path, middle = write_two(tmp_path, b"x" * 30)
    whole = bytearray(path.read_bytes())
    whole[middle + 40] ^= 1
    path.write_bytes(whole)
    with pytest.raises(LogDamaged, match=f"{path} is damaged at byte {middle}, a checksum") as one:
        recovered(tmp_path)
    assert one.value.offset == middle


def test_zeros_in_the_middle_are_damage_because_something_follows(tmp_path: Path) -> None:
    path, middle = write_two(tmp_path, b"x" * 30)
    whole = path.read_bytes()
    path.write_bytes(whole[: middle - 160] + bytes(160) + whole[middle:])
    with pytest.raises(LogDamaged, match=r"a frame follows at|a checksum does not match"):
        recovered(tmp_path)


def test_a_missing_segment_is_found(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path, segment_bytes=500) as (disk, _):
        for index in range(2, 40):
            disk.write([append(index, index, data=b"x" * 100)])
    paths = sorted(tmp_path.glob("*.log"))
    for position, match in [(0, "the log begins at"), (2, "is missing before it")]:
        data = paths[position].read_bytes()
        paths[position].unlink()
        with pytest.raises(LogDamaged, match=match):
            recovered(tmp_path)
        paths[position].write_bytes(data)


def test_a_segment_cut_at_a_frame_is_found_when_another_follows(tmp_path: Path) -> None:
    path, middle = write_two(tmp_path, b"x" * 30)
    recovered(tmp_path)  # begins the next segment
    path.write_bytes(path.read_bytes()[:middle])
    with pytest.raises(LogDamaged, match="its end is missing"):
        recovered(tmp_path)


def test_a_log_that_ends_before_what_was_committed_is_refused(tmp_path: Path) -> None:
    with opened(make(tmp_path)) as (disk, _):
        disk.write([append(2, 3), Persist(4, HardState(1, 1, 9))])
    with pytest.raises(LogDamaged, match="it ends at 3, but 9 were committed"):
        recovered(tmp_path)
