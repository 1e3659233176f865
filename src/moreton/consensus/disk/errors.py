"""What can be wrong with the folder in which a node keeps its log."""

from __future__ import annotations

import errno
from pathlib import Path

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.kernel.errors import RetryAdvice

# A quota and a limit on file sizes stop a writer as a full disk does.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskError(ConsensusError):
    """The root of the errors of a node's folder; *path* is the file or folder concerned."""

    def __init__(self, message: str, *, path: Path) -> None:
        self.path = path
        super().__init__(message)


class DiskFull(DiskError):
    """The disk has no room. What was to be written is not promised to anyone."""

    code = "raft-disk-full"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the disk of {path} is full, {reason}: the node cannot promise anything and stops; "
            "free some space, then start it again",
            path=path,
        )


class DiskFailing(DiskError):
    """The disk answered with an error. What it holds of the last write is not known."""

    code = "raft-disk-failing"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the disk of {path} failed, {reason}: what was written last may not be there, so the "
            "node stops and does not try again; check the disk, then start the node again",
            path=path,
        )


class LogDamaged(DiskError):
    """A file was changed after it was written: it is not used any further."""

    code = "raft-log-damaged"

    def __init__(self, *, path: Path, offset: int, reason: str) -> None:
        self.offset = offset
        self.reason = reason
        super().__init__(
            f"{path} is damaged at byte {offset}, {reason}: what this node promised is not known, "
            "so it does not start; remove it from the cluster and let it join under a new id "
            "with an empty folder",
            path=path,
        )


class FolderInUse(DiskError):
    """Another process runs a node in this folder."""

    code = "raft-folder-in-use"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: Path, holder: str) -> None:
        self.holder = holder
        super().__init__(
            f"folder {path} is in use by {holder}: two nodes would damage its log; stop the other "
            "one, or give each its own folder",
            path=path,
        )


class FolderOfAnother(DiskError):
    """The folder belongs to another cluster or node."""

    code = "raft-folder-of-another"

    def __init__(self, *, path: Path, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(
            f"folder {path} is of {found} and this is {expected}: it was left untouched; "
            "give each node of each cluster its own folder",
            path=path,
        )


class FolderNewer(DiskError):
    """A later version of Moreton wrote the folder."""

    code = "raft-folder-newer"

    def __init__(self, *, path: Path, found: int, supported: int) -> None:
        self.found = found
        self.supported = supported
        super().__init__(
            f"{path} has format {found} and this version knows up to {supported}: it was left "
            "untouched; use the newer version of moreton that wrote it",
            path=path,
        )


class FolderEmpty(DiskError):
    """There is no node in the folder: it was never made, or its disk was lost."""

    code = "raft-folder-empty"

    def __init__(self, *, path: Path, node: NodeId | None = None) -> None:
        who = "a node" if node is None else f"node {node}"
        super().__init__(
            f"folder {path} holds no log of {who}: a node that forgot its votes could vote twice, "
            "so it does not start; make a new cluster, or if it was a member remove it there and "
            "join again under a new id",
            path=path,
        )


class FolderNotEmpty(DiskError):
    """A new node was to be made where something is already."""

    code = "raft-folder-not-empty"

    def __init__(self, *, path: Path, found: str) -> None:
        self.found = found
        super().__init__(
            f"folder {path} holds {found} already: no new node is made there; start the one that "
            "is there, or choose an empty folder",
            path=path,
        )


class FolderUnusable(DiskError):
    """The folder cannot be opened or made."""

    code = "raft-folder-unusable"

    def __init__(self, *, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"folder {path} cannot be used, {reason}: no log can be kept; check the path and the "
            "rights on it",
            path=path,
        )


def translated(error: OSError, path: Path) -> DiskError:
    """What *error* of a write, or of a read, means for a node."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return DiskFull(path=path, reason=reason)
    return DiskFailing(path=path, reason=reason)
