"""The file that processes share: made by the first, mapped by all, of one shape."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import platform
import secrets
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.errors import LimitsUnreadable
from moreton.ratelimit.shared.locks import ProcessLock, process_lock

MAGIC = b"moreton1"
HEADER_BYTES = 4096
# Words of the header; the mutex has a line of the processor's cache for itself.
BOOT, SALT, EVICTED, RECOVERED = 1, 2, 4, 5
_SALT_BYTES = 16
MUTEX_AT = 256
FILE_BYTES_MAX = 4 * 2**30
# The kernel's lock below keeps processes apart, not the threads of one.
_beginning = Lock()
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SharedFile:
    """*size* words for *limits* after a header, at *path* with a suffix for their shape.

    Other limits are another file, so that old and new workers of a deploy do not meet; a file that
    no process uses any more is removed when one with other limits is opened. What a file holds from
    before the machine was started is forgotten, as are its clocks.
    """

    def __init__(self, path: Path, limits: Sequence[Limit], shape: str, size: int) -> None:
        self._check_size(path, size)
        described = ";".join([shape, *(repr_of(limit) for limit in limits)])
        digest = hashlib.blake2b(described.encode(), digest_size=8).hexdigest()
        self.path = path.with_name(f"{path.name}.{digest}")
        self._bytes = HEADER_BYTES + 8 * size
        try:
            self._fd = self._open()
            with _beginning:
                new = self._begin()
        except OSError as error:
            raise LimitsUnreadable(
                f"{self.path}: {error.strerror}: processes cannot share their limits there; give a "
                "path in a folder that all of them may write and that has room, as /dev/shm"
            ) from error
        self.close = weakref.finalize(self, _leave, self._fd)
        self.was_new = new
        self._remove_unused(path)

    def _begin(self) -> bool:
        """Map the file, and make what is not there; whether it was made."""
        # Among those that open it; released below, or with the process.
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1)
        try:
            boot = boot_number().to_bytes(8, "little")
            new = os.pread(self._fd, 16, 0) != MAGIC + boot
            if new:
                # Nobody has it mapped: it is of an earlier start of the machine, or not made yet.
                os.ftruncate(self._fd, 0)
                _reserve(self._fd, self._bytes)
                os.pwrite(self._fd, boot + secrets.token_bytes(_SALT_BYTES), 8 * BOOT)
            self._map = mmap.mmap(self._fd, self._bytes)
            self.words = memoryview(self._map).cast("q")
            self.lock: ProcessLock = process_lock(self.path, self._map, MUTEX_AT, new=new)
            # Last: who finds it finds all of it.
            os.pwrite(self._fd, MAGIC, 0)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1)
        return new

    @property
    def salt(self) -> bytes:
        """What keys are hashed with, so that nobody outside can aim at a place."""
        return bytes(self._map[8 * SALT : 8 * SALT + _SALT_BYTES])

    def _open(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Held as long as a process, or a child of it, lives: the file is in use.
            fcntl.flock(fd, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), self.path.stat()):
                    return fd
            os.close(fd)  # it was removed between the two

    def _remove_unused(self, path: Path) -> None:
        for other in path.parent.glob(f"{path.name}.{'[0-9a-f]' * 16}"):
            if other == self.path:
                continue
            with suppress(OSError):
                fd = os.open(other, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.pread(fd, len(MAGIC), 0) == MAGIC:
                        other.unlink()
                finally:
                    os.close(fd)

    @staticmethod
    def _check_size(path: Path, size: int) -> None:
        if size * 8 > FILE_BYTES_MAX:
            raise ValueError(
                f"{path}: the limits of so many keys need {size * 8 / 2**30:.1f} GiB; give a lower "
                "keys_max, or limits that do not remember every request"
            )


class SharedMemo:
    """A dictionary with a bound, for what can be found again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self.known: dict[str, tuple[tuple[int, int], ...]] = {}

    def add(self, key: str, found: tuple[tuple[int, int], ...]) -> None:
        """Remember *found* for *key*."""
        with self._lock:
            if len(self.known) >= self._most:
                self.known.clear()
            self.known[key] = found


def boot_number() -> int:
    """A number of this start of the machine: monotonic clocks begin anew with each."""
    if platform.system() == "Linux":
        text = _BOOT_ID.read_bytes()
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
    return round((time.time() - time.monotonic()) / 600)


def repr_of(limit: Limit) -> str:
    """All that makes *limit* what it is."""
    names = {name for kind in type(limit).__mro__ for name in getattr(kind, "__slots__", ())}
    return f"{type(limit).__name__}{sorted((name, str(getattr(limit, name))) for name in names)}"


def _leave(fd: int) -> None:
    # The mapping has a descriptor of its own, which would hold the lock.
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _reserve(fd: int, size: int) -> None:
    # Room that is promised and not there would end the process that touches it.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)
