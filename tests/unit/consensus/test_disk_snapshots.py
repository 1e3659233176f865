"""A snapshot and a log that do not meet: the crash came between the two."""

from __future__ import annotations

from pathlib import Path

import pytest

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import HardState, SnapshotMeta
from unit.consensus.test_disk import VOTERS, append, entries, make, opened, recovered


@pytest.mark.parametrize("last", [6, 24, 40])
def test_a_snapshot_without_its_record_replaces_a_log_that_does_not_lead_to_it(
    tmp_path: Path, last: int
) -> None:
    """The log ends before the snapshot, or has an entry of another term where that is.

    So it is too when a state machine was ahead of its own disk.
    """
    newer = SnapshotMeta(25, 2, VOTERS)
    with opened(make(tmp_path)) as (disk, _):
        disk.write([append(2, last), Persist(last + 1, HardState(2, None, 6))])
        disk.write_snapshot(newer, b"newer")
    with opened(tmp_path) as (disk, state):
        assert (state.snapshot, state.entries) == (newer, ())
        disk.write([append(26, 27, term=2), Persist(28, HardState(2, None, 27))])
    for _ in range(2):
        state = recovered(tmp_path)
        assert (state.snapshot, state.entries) == (newer, entries(26, 27, term=2))
        assert state.hard_state.commit == 27


def test_a_snapshot_without_its_record_follows_one_that_replaced_the_log(tmp_path: Path) -> None:
    older, newer = SnapshotMeta(10, 1, VOTERS), SnapshotMeta(25, 2, VOTERS)
    with opened(make(tmp_path)) as (disk, _):
        disk.write_snapshot(older, b"older")
        disk.write([Persist(2, HardState(2, None, 10), snapshot=older)])
        disk.write_snapshot(newer, b"newer")
    with opened(tmp_path) as (disk, _):
        disk.write([append(26, 27, term=2)])
    for _ in range(2):
        assert recovered(tmp_path).entries == entries(26, 27, term=2)


def test_a_log_that_leads_to_the_snapshot_is_kept(tmp_path: Path) -> None:
    with opened(make(tmp_path)) as (disk, _):
        disk.write([append(2, 9)])
        disk.write_snapshot(SnapshotMeta(7, 1, VOTERS), b"newer")
    for _ in range(2):
        assert recovered(tmp_path).entries == entries(2, 9)
