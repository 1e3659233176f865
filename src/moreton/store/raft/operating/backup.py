"""A snapshot of the store as a file: checked whole before anything is made of it.

The first line says what it is, the second what is in it, as JSON with the SHA-256 of the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from moreton.store.raft.core.snapshot import Frozen, freeze, thaw
from moreton.store.raft.errors import SnapshotDamaged, SnapshotNotWritten
from moreton.store.raft.folder import sync_folder

_MAGIC = b"moreton cluster snapshot 1\n"
_HEADER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Backup:
    """What a snapshot's file says about itself."""

    cluster: str
    node: int
    revision: int
    keys: int
    leases: int
    taken_at: str
    size: int
    sha256: str


def describe(frozen: Frozen, data: bytes, *, cluster: str, node: int, taken_at: str) -> Backup:
    """What will stand in the file of *data*, the bytes of *frozen*."""
    return Backup(
        cluster=cluster,
        node=node,
        revision=frozen.revision,
        keys=len(frozen.kvs),
        leases=len(frozen.leases),
        taken_at=taken_at,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def write_backup(file: Path, backup: Backup, data: bytes) -> None:
    """Make *file*, durably, whole or not at all. Raises `SnapshotNotWritten`, `SnapshotDamaged`."""
    _check(file, backup, data)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(_MAGIC + json.dumps(asdict(backup)).encode() + b"\n")
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        # Never over another file: it may be the only good one.
        os.link(beside, file)
        sync_folder(file.parent)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SnapshotNotWritten(file=file, reason=reason) from error
    finally:
        beside.unlink(missing_ok=True)


def read_backup(file: Path) -> tuple[Backup, bytes]:
    """What *file* says, and the bytes of its snapshot, checked. Raises `SnapshotDamaged`."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SnapshotDamaged(file=file, reason=(error.strerror or str(error)).lower()) from error
    if not content.startswith(_MAGIC):
        raise SnapshotDamaged(file=file, reason="it does not begin like one")
    end = content.find(b"\n", len(_MAGIC), len(_MAGIC) + _HEADER_BYTES_MAX)
    try:
        backup = Backup(**json.loads(content[len(_MAGIC) : end]))
    except (ValueError, TypeError) as error:
        raise SnapshotDamaged(file=file, reason="its second line is not readable") from error
    data = content[end + 1 :]
    _check(file, backup, data)
    return backup, data


def begin_anew(file: Path, data: bytes) -> bytes:
    """*data* as the beginning of another cluster, whose terms count from one again.

    Raises `SnapshotDamaged`.
    """
    try:
        frozen = freeze(thaw(data))
    except ValueError as error:
        raise SnapshotDamaged(file=file, reason=str(error)) from error
    return replace(frozen, term=0).encode()


def _check(file: Path, backup: Backup, data: bytes) -> None:
    if len(data) != backup.size:
        reason = f"it has {len(data)} bytes of {backup.size}"
        raise SnapshotDamaged(file=file, reason=reason)
    found = hashlib.sha256(data).hexdigest()
    if found != backup.sha256:
        reason = f"its checksum is {found[:12]}… and should be {str(backup.sha256)[:12]}…"
        raise SnapshotDamaged(file=file, reason=reason)
