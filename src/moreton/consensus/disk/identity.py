"""Whose folder it is: one node of one cluster, and one process at a time.

The file `identity` is three lines of text and a checksum. It is written last when a node is made,
so a folder without it was never ready, or has lost something.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from moreton.consensus.core.messages import NodeId
from moreton.consensus.disk.errors import (
    FolderEmpty,
    FolderInUse,
    FolderNewer,
    FolderOfAnother,
    FolderUnusable,
    LogDamaged,
)
from moreton.consensus.disk.files import Files

FORMAT = 1
IDENTITY = "identity"
LOCK = "lock"
CLUSTER_BYTES_MAX = 64
_CLUSTER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TEXT = re.compile(rb"moreton-raft (\d+)\ncluster ([^\n]+)\nnode (\d+)\n")


@dataclass(frozen=True, slots=True)
class Identity:
    """A *node* of a *cluster*, which has a name that no other cluster ever has."""

    cluster: str
    node: NodeId

    def __post_init__(self) -> None:
        if _CLUSTER.fullmatch(self.cluster) is None:
            raise ValueError(
                f"cluster id {self.cluster!r} is not 1 to {CLUSTER_BYTES_MAX} letters, digits, "
                "dots, dashes and underscores: files could not be told apart by it; make one "
                "with moreton.kernel.new_id"
            )
        if self.node < 1:
            raise ValueError(f"node id {self.node} is below 1: it could not vote; give 1 or more")

    def __str__(self) -> str:
        return f"node {self.node} of cluster {self.cluster}"


def read_identity(folder: Path, files: Files | None = None) -> Identity:
    """Whose *folder* it is. Raises `FolderEmpty`, `FolderNewer`, `LogDamaged`, `FolderUnusable`."""
    if not folder.is_dir():
        reason = "it is not a folder" if folder.exists() else "it is not there"
        raise FolderUnusable(path=folder, reason=reason)
    path = folder / IDENTITY
    try:
        data = (files or Files()).read(path)
    except FileNotFoundError as error:
        raise FolderEmpty(path=folder) from error
    except OSError as error:
        raise FolderUnusable(path=folder, reason=error.strerror or "unreadable") from error
    found = _TEXT.match(data)
    if found is None:
        raise LogDamaged(path=path, offset=0, reason="it is not the identity of a node")
    if data[found.end() :] != _checksum_line(found[0]):
        raise LogDamaged(path=path, offset=found.end(), reason="its checksum does not match")
    if int(found[1]) > FORMAT:
        raise FolderNewer(path=path, found=int(found[1]), supported=FORMAT)
    return Identity(found[2].decode(), int(found[3]))


def write_identity(folder: Path, identity: Identity, files: Files) -> None:
    """From now on *folder* is of *identity*."""
    text = f"moreton-raft {FORMAT}\ncluster {identity.cluster}\nnode {identity.node}\n".encode()
    files.put(folder / IDENTITY, text + _checksum_line(text))


def check_identity(folder: Path, expected: Identity, files: Files) -> None:
    """Raise `FolderOfAnother` unless *folder* is of *expected*."""
    try:
        found = read_identity(folder, files)
    except FolderEmpty as error:
        raise FolderEmpty(path=folder, node=expected.node) from error
    if found != expected:
        raise FolderOfAnother(path=folder, found=str(found), expected=str(expected))


class FolderLock:
    """Held from its making to `close`, or to the end of the process. Raises `FolderInUse`."""

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderUnusable(path=folder, reason=error.strerror or "not openable") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            who = f"process {holder}" if holder else "another process"
            raise FolderInUse(path=folder, holder=who) from error
        with suppress(OSError):  # on a full disk the lock holds all the same
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let the next one in."""
        os.close(self._descriptor)


def _checksum_line(text: bytes) -> bytes:
    return f"checksum {crc32(text):08x}\n".encode()
