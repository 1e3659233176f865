"""Snapshots: one file each, whole or not there, checked block by block when it is read.

The header is magic, format u8 and seven zeros, node u64, index u64, data length u64, meta length
u32, cluster length u16, the cluster's name, the snapshot as in `moreton.consensus.codec`, and a
checksum u32 of all this; then blocks of 1 MiB, the last shorter, each followed by its checksum u32.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from zlib import crc32

from moreton.consensus.codec import decode_snapshot, encode_snapshot
from moreton.consensus.core.messages import SnapshotMeta
from moreton.consensus.disk.errors import FolderNewer, FolderOfAnother, LogDamaged
from moreton.consensus.disk.files import TEMPORARY, Files
from moreton.consensus.disk.identity import FORMAT, Identity

BLOCK_BYTES = 1024 * 1024
# Synced so often, the log's own syncs do not have to wait for the whole snapshot.
SYNC_BLOCKS = 4
_MAGIC = b"MORETONS"
_HEADER = Struct("<8sB7xQQQIH")
_SUFFIX = ".snapshot"


def snapshot_paths(folder: Path) -> list[Path]:
    """All snapshots, the oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def write_snapshot_file(
    folder: Path, identity: Identity, snapshot: SnapshotMeta, data: bytes, files: Files
) -> Path:
    """Write it, durably; raises `OSError`, and then it is not there."""
    path = folder / f"{snapshot.index:016x}{_SUFFIX}"
    temporary = path.with_name(path.name + TEMPORARY)
    descriptor = files.create(temporary)
    try:
        files.write(descriptor, _header(identity, snapshot, data))
        for number, start in enumerate(range(0, len(data), BLOCK_BYTES), 1):
            block = data[start : start + BLOCK_BYTES]
            files.write(descriptor, block + crc32(block).to_bytes(4, "little"))
            if number % SYNC_BLOCKS == 0:
                files.sync(descriptor)
        files.sync(descriptor)
    finally:
        files.close(descriptor)
    files.rename(temporary, path)
    files.sync_folder(folder)
    return path


def read_snapshot_file(path: Path, identity: Identity, files: Files) -> tuple[SnapshotMeta, bytes]:
    """What is in it, checked. Raises `LogDamaged`, `FolderOfAnother`, `FolderNewer`, `OSError`."""
    raw = files.read(path)
    snapshot, length, start = _read_header(path, raw, identity)
    blocks = list(_blocks(path, raw, start, length))
    return snapshot, b"".join(blocks)


def _header(identity: Identity, snapshot: SnapshotMeta, data: bytes) -> bytes:
    cluster, meta = identity.cluster.encode(), encode_snapshot(snapshot)
    fields = (_MAGIC, FORMAT, identity.node, snapshot.index, len(data), len(meta), len(cluster))
    head = _HEADER.pack(*fields) + cluster + meta
    return head + crc32(head).to_bytes(4, "little")


def _read_header(path: Path, raw: bytes, identity: Identity) -> tuple[SnapshotMeta, int, int]:
    damaged = LogDamaged(path=path, offset=0, reason="its header is not as it was written")
    if len(raw) < _HEADER.size:
        raise damaged
    magic, version, node, _, length, meta_bytes, cluster_bytes = _HEADER.unpack_from(raw)
    middle = _HEADER.size + cluster_bytes
    end = middle + meta_bytes
    if len(raw) < end + 4 or crc32(raw[:end]) != int.from_bytes(raw[end : end + 4], "little"):
        raise damaged
    if magic != _MAGIC:
        raise LogDamaged(path=path, offset=0, reason="it is not a snapshot")
    if version > FORMAT:
        raise FolderNewer(path=path, found=version, supported=FORMAT)
    cluster = raw[_HEADER.size : middle].decode(errors="replace")
    if (cluster, node) != (identity.cluster, identity.node):
        found = f"node {node} of cluster {cluster}"
        raise FolderOfAnother(path=path, found=found, expected=str(identity))
    return decode_snapshot(raw, middle)[0], length, end + 4


def _blocks(path: Path, raw: bytes, offset: int, length: int) -> Iterator[bytes]:
    while length:
        block = raw[offset : offset + min(length, BLOCK_BYTES)]
        sealed = raw[offset + len(block) : offset + len(block) + 4]
        if crc32(block) != int.from_bytes(sealed, "little") or len(sealed) < 4 or not block:
            raise LogDamaged(path=path, offset=offset, reason="a block's checksum does not match")
        yield block
        offset += len(block) + 4
        length -= len(block)
    if offset != len(raw):
        raise LogDamaged(path=path, offset=offset, reason="something was added at its end")
