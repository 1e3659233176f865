"""The troubles of a store: those of its model, and those of its file."""

from __future__ import annotations

from pathlib import Path

from moreton.kernel.errors import RetryAdvice, shown_address
from moreton.store.core.errors import (
    AnswerLost,
    Compacted,
    DuplicateKey,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
    RequestTooLarge,
    StoreError,
)

__all__ = [
    "AnswerLost",
    "Compacted",
    "DuplicateKey",
    "FutureRevision",
    "LeaseExists",
    "LeaseNotFound",
    "NotAStore",
    "RequestTooLarge",
    "StoreClosed",
    "StoreCorrupt",
    "StoreError",
    "StoreFailing",
    "StoreFileGone",
    "StoreFull",
    "StoreInUse",
    "StoreNewer",
    "StoreNotOpened",
    "StoreReadOnly",
    "UnknownStoreUrl",
]


class StoreClosed(StoreError):
    """The store was closed by this program."""

    code = "store-closed"

    def __init__(self) -> None:
        super().__init__(
            "the store is closed: nothing more is read or written; open it again to go on"
        )


class UnknownStoreUrl(StoreError):
    """A store's address that no backend understands."""

    code = "store-unknown-url"

    def __init__(self, *, url: str) -> None:
        self.url = url
        super().__init__(
            f"{shown_address(url)} is not the address of a store: it cannot be opened; write "
            "sqlite:///relative/file, sqlite:////absolute/file, etcd://host:2379/prefix, "
            "raft:///folder or memory:"
        )


class StoreFileError(StoreError):
    """The root of the errors of a store that is a file."""

    def __init__(self, message: str, *, path: Path) -> None:
        self.path = path
        super().__init__(message)


class StoreNotOpened(StoreFileError):
    """The file cannot be opened or made."""

    code = "store-not-opened"

    def __init__(self, *, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"store file {path} cannot be opened, {reason}: nothing can be read or written; "
            "check the path and the rights of its folder",
            path=path,
        )


class StoreInUse(StoreFileError):
    """Another process has the file open."""

    code = "store-in-use"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: Path, holder: str) -> None:
        self.holder = holder
        super().__init__(
            f"store file {path} is in use by {holder}: two writers would damage it; "
            "stop the other one, or choose another file",
            path=path,
        )


class StoreNewer(StoreFileError):
    """A later version of Moreton wrote the file."""

    code = "store-newer"

    def __init__(self, *, path: Path, found: int, supported: int) -> None:
        self.found = found
        self.supported = supported
        super().__init__(
            f"store file {path} has format {found} and this version knows up to {supported}: "
            "it was left untouched; use the newer version of moreton that wrote it",
            path=path,
        )


class NotAStore(StoreFileError):
    """The file is something else."""

    code = "store-not-a-store"

    def __init__(self, *, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"file {path} is not a store, {reason}: it was left untouched; choose another path, "
            "or move the file away",
            path=path,
        )


class StoreCorrupt(StoreFileError):
    """The file was damaged after it was written."""

    code = "store-corrupt"

    def __init__(self, *, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"store file {path} is damaged, {reason}: it was not used any further; "
            "restore a copy, or move it away to begin with an empty store",
            path=path,
        )


class StoreFull(StoreFileError):
    """The disk has no room. The write did not happen; reads go on."""

    code = "store-full"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"the disk of store file {path} is full: the write was refused, reads go on; "
            "free some space, no restart is needed",
            path=path,
        )


class StoreReadOnly(StoreFileError):
    """The file or its file system may not be written."""

    code = "store-read-only"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"store file {path} may not be written: nothing can be stored; "
            "give this user the right to write it and its folder",
            path=path,
        )


class StoreFileGone(StoreFileError):
    """The file was deleted or replaced under the running store."""

    code = "store-file-gone"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"store file {path} was deleted or replaced while in use: writes are refused, they "
            "would be lost; put the file back, or restart to begin with what is there",
            path=path,
        )


class StoreFailing(StoreFileError):
    """The disk answered with an error. The write was refused, and a crash may yet show it."""

    code = "store-failing"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"store file {path} could not be written, {reason}: the write was refused; "
            "check the disk, then try again",
            path=path,
        )
