"""What the disk asks of the operating system, in one place: where a test makes it fail."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

# On Linux the size of a file is synced with its data; times need not be.
_sync = getattr(os, "fdatasync", os.fsync)


class Files:
    """Files of one folder. Every method raises `OSError`."""

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file to be written; an old one of that name is emptied."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes) -> None:
        """Add all of *data* at the end of what was written before."""
        written = os.write(descriptor, data)
        while written < len(data):
            # A disk that is nearly full takes a part; the next call says so.
            written += os.write(descriptor, memoryview(data)[written:])

    def sync(self, descriptor: int) -> None:
        """Return once everything written is on the disk itself."""
        if sys.platform == "darwin":
            # There fsync does not reach the platter.
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            _sync(descriptor)

    def close(self, descriptor: int) -> None:
        """Let go of the file."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give the file *old* the name *new*, at once; durable after `sync_folder`."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Remove the file if it is there; durable after `sync_folder`."""
        path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Return once the names in the folder are on the disk itself."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def cut(self, path: Path, size: int) -> None:
        """Shorten the file to *size*, durably."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, path: Path) -> bytes:
        """Everything in the file."""
        return path.read_bytes()

    def put(self, path: Path, data: bytes) -> None:
        """Make *path* a file of *data*, durably: whole, or as it was before."""
        temporary = path.with_name(path.name + TEMPORARY)
        descriptor = self.create(temporary)
        try:
            self.write(descriptor, data)
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        self.rename(temporary, path)
        self.sync_folder(path.parent)


# What a crash may leave behind while a file is made; never read.
TEMPORARY = ".new"
