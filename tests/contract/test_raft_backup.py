"""Snapshots of a cluster as files: whole, or refused; and the clusters that are made of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from contract.raft_nodes import Nodes, running_nodes
from moreton.store.raft.errors import SnapshotDamaged, SnapshotNotWritten
from moreton.store.raft.operating.administration import PART_BYTES
from moreton.store.raft.operating.making import restore_first
from moreton.store.raft.operating.operator import Operator
from support.ports import free_port


def here() -> str:
    return f"127.0.0.1:{free_port()}"


async def save(nodes: Nodes, file: Path) -> bytes:
    for number in range(20):
        await nodes.stores[1].put(b"%d" % number, b"x" * 100)
    lease = await nodes.stores[1].grant(timedelta(hours=1))
    await nodes.stores[1].put(b"leased", b"1", lease=lease)
    await Operator(nodes.path(1)).save(file, lambda _done, _total: None)
    return file.read_bytes()


async def test_damaged_snapshot_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=1) as nodes:
        good = await save(nodes, tmp_path / "good")
    head = good.index(b"\n", good.index(b"\n") + 1) + 1
    flipped = bytearray(good)
    flipped[head + 300] ^= 1
    cases = {
        "it has 0 bytes of": good[:head],
        r"it has \d+ bytes of \d+": good[:-1],
        "its checksum is": bytes(flipped),
        "it does not begin like one": b"#!/bin/sh\n" + good,
        "its second line is not readable": good.replace(b'"sha256"', b'"sha257"'),
    }
    for why, content in cases.items():
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(SnapshotDamaged, match=why):
            restore_first(tmp_path / "new", here(), tmp_path / "bad")
    with pytest.raises(SnapshotDamaged, match="no such file"):
        restore_first(tmp_path / "new", here(), tmp_path / "missing")
    assert not (tmp_path / "new").exists()


async def test_snapshot_of_many_parts_is_whole(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=1) as nodes:
        store = nodes.stores[1]
        values = {b"%d" % number: bytes([number]) * 1_400_000 for number in range(8)}
        for key, value in values.items():
            await store.put(key, value)
        told: list[tuple[int, int]] = []
        backup = await Operator(nodes.path(1)).save(
            tmp_path / "saved", lambda done, total: told.append((done, total))
        )
        assert backup.size > 2 * PART_BYTES
        assert told[0] == (0, backup.size)
        assert told[-1] == (backup.size, backup.size)
        assert len(told) == 2 + backup.size // PART_BYTES
    restore_first(tmp_path / "again" / "node1", here(), tmp_path / "saved")
    again = Nodes(tmp_path / "again")
    try:
        found = await (await again.start(1)).range(b"0", b"9")
        assert {kv.key: kv.value for kv in found.kvs} == values
    finally:
        await again.stop_all()


async def test_snapshot_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=1) as nodes:
        (tmp_path / "mine").write_text("mine")
        with pytest.raises(SnapshotNotWritten, match="file exists"):
            await save(nodes, tmp_path / "mine")
        with pytest.raises(SnapshotNotWritten, match="no such file or directory"):
            await save(nodes, tmp_path / "missing" / "file")
        assert (tmp_path / "mine").read_text() == "mine"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "node1"]


async def test_restored_cluster_has_the_contents_times_its_leases_and_ends_them(
    tmp_path: Path,
) -> None:
    async with running_nodes(tmp_path) as nodes:
        # A later term than the first of a new cluster.
        for number in (2, 3, 1, 2):
            await nodes.stores[1].node.transfer(number)
        short = await nodes.stores[1].grant(timedelta(seconds=2))
        await nodes.stores[1].put(b"short", b"1", lease=short)
        await save(nodes, tmp_path / "saved")
    restore_first(tmp_path / "again" / "node1", here(), tmp_path / "saved")
    again = Nodes(tmp_path / "again")
    try:
        store = await again.start(1)
        assert (await store.range(b"leased")).count == 1
        async with store.watch(b"short") as watch:
            if (await store.range(b"short")).count:
                assert (await anext(watch)).events[0].kind == "delete"
        assert (await store.range(b"leased")).count == 1
        # It is a cluster like any other.
        await again.join(2)
        assert (await again.stores[2].range(b"leased")).count == 1
    finally:
        await again.stop_all()
