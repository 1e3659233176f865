"""The file of a snapshot stays where it was put, whatever becomes of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from moreton.store.raft.core.replica import Replica
from moreton.store.raft.core.snapshot import freeze
from moreton.store.raft.operating.backup import describe, read_backup, write_backup
from support.synced import synced_paths


def test_snapshot_is_durable_and_so_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "today.snapshot"
    frozen = freeze(Replica())
    data = frozen.encode()
    backup = describe(frozen, data, cluster="c", node=1, taken_at="2026-01-01T00:00:00Z")
    synced = synced_paths(monkeypatch)
    write_backup(file, backup, data)
    assert [path.parent for path in synced] == [tmp_path, tmp_path.parent]
    assert synced[1] == tmp_path
    assert read_backup(file) == (backup, data)
    assert list(tmp_path.iterdir()) == [file]
