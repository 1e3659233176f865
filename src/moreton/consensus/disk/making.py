"""How a folder becomes a node's: as a founding member's, or empty for one that joins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.core.state import Recovered
from moreton.consensus.disk.errors import FolderNotEmpty, FolderUnusable, translated
from moreton.consensus.disk.files import Files
from moreton.consensus.disk.identity import LOCK, FolderLock, Identity, write_identity
from moreton.consensus.disk.records import encode_records
from moreton.consensus.disk.segments import OpenSegment
from moreton.consensus.disk.snapshot_files import write_snapshot_file


def found(
    folder: Path,
    *,
    cluster: str,
    node: NodeId,
    voters: Iterable[NodeId],
    data: bytes,
    files: Files | None = None,
) -> None:
    """Make *folder* that of a founding member of a new *cluster*.

    *voters* are all of them, *data* is the first snapshot's; both are the same for all. A founding
    member that lost its disk must not be founded again, and nobody could tell: so found clusters
    of one, under a name that is made on the spot, and let the others `join`.
    """
    first = Recovered.first(Configuration(voters=frozenset(voters)))
    _make(folder, Identity(cluster, node), first, data, files or Files())


def join(folder: Path, *, cluster: str, node: NodeId, files: Files | None = None) -> None:
    """Make *folder* that of a node which the members let in, under an id that nobody had before."""
    _make(folder, Identity(cluster, node), Recovered(), None, files or Files())


def _make(
    folder: Path, identity: Identity, first: Recovered, data: bytes | None, files: Files
) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnusable(path=folder, reason=error.strerror or "not makeable") from error
    _check_empty(folder)
    lock = FolderLock(folder)
    try:
        _check_empty(folder)  # another process may have been faster
        if data is not None:
            write_snapshot_file(folder, identity, first.snapshot, data, files)
        payload = encode_records([Persist(0, first.hard_state)])
        OpenSegment(folder, 1, identity=identity, after=0, first=payload, files=files).close()
        write_identity(folder, identity, files)
        files.sync_folder(folder.parent)
    except OSError as error:
        raise translated(error, folder) from error
    finally:
        lock.close()


def _check_empty(folder: Path) -> None:
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    if others:
        raise FolderNotEmpty(path=folder, found=", ".join(others[:3]))
