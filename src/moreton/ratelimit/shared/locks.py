"""A lock between processes that outlives the death of its holder, at any instruction.

On Linux a robust mutex of the C library in the shared memory itself: two calls without the kernel
while nobody else wants it. Elsewhere a lock on the file, which the kernel frees with its holder.
Source: POSIX.1-2008, pthread_mutexattr_setrobust.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import threading
from pathlib import Path
from typing import Protocol

MUTEX_BYTES = 64  # 40 on x86-64, 48 on arm64
_PROCESS_SHARED = 1
_ERRORCHECK = 2
_ROBUST = 1
_ATTRIBUTE_BYTES = 64
# A decision takes about a microsecond: a few tries are cheaper than to be put to sleep.
_TRIES = 20


class ProcessLock(Protocol):
    """Taken by one thread of one process at a time."""

    def acquire(self) -> bool:
        """Wait for the lock; whether the one that held it died with it."""
        ...

    def release(self) -> None:
        """Let the next one in; nothing happens when it was not acquired."""
        ...


def process_lock(path: Path, memory: mmap.mmap, offset: int, *, new: bool) -> ProcessLock:
    """The lock of the file *path*: a mutex at *offset* of *memory*, which *new* makes."""
    if platform.system() == "Linux":
        return RobustMutex(memory, offset, new=new)
    return FileLock(path)


class RobustMutex:
    """A mutex at *offset* in *memory* that processes share."""

    def __init__(self, memory: mmap.mmap, offset: int, *, new: bool) -> None:
        # With the global lock for calls that never wait, without it for the one that may.
        quick, slow = ctypes.PyDLL(None, use_errno=False), ctypes.CDLL(None, use_errno=False)
        # Held as long as the lock is, so that it is never asked for where nothing is mapped.
        self._memory = (ctypes.c_char * MUTEX_BYTES).from_buffer(memory, offset)
        mutex = ctypes.c_void_p(ctypes.addressof(self._memory))
        if new:
            _make(quick, mutex)
        self._mutex = mutex
        self._try = _quiet(quick.pthread_mutex_trylock)
        self._unlock = _quiet(quick.pthread_mutex_unlock)
        self._consistent = _quiet(quick.pthread_mutex_consistent)
        self._wait = _quiet(slow.pthread_mutex_lock)

    def acquire(self) -> bool:
        """See `ProcessLock.acquire`."""
        code = self._try(self._mutex)
        if not code:
            return False
        for _ in range(_TRIES):
            if code != errno.EBUSY:
                break
            code = self._try(self._mutex)
        if code == errno.EBUSY:
            code = self._wait(self._mutex)
        if code == errno.EOWNERDEAD:
            self._consistent(self._mutex)
            return True
        if code:
            raise OSError(code, f"the lock of shared limits: {os.strerror(code)}")
        return False

    def release(self) -> None:
        """See `ProcessLock.release`."""
        self._unlock(self._mutex)


class FileLock:
    """A lock on the whole of a file, of its own descriptor in each process, and between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._pid = 0
        self._fd = -1

    def acquire(self) -> bool:
        """See `ProcessLock.acquire`; who died is not told."""
        self._threads.acquire()
        if self._pid != os.getpid():
            # What was opened before a fork would be one lock for both.
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            self._pid = os.getpid()
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return False

    def release(self) -> None:
        """See `ProcessLock.release`."""
        if self._threads.locked():
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self._threads.release()


def _make(library: ctypes.PyDLL, mutex: ctypes.c_void_p) -> None:
    attribute = ctypes.create_string_buffer(_ATTRIBUTE_BYTES)
    codes = [
        library.pthread_mutexattr_init(attribute),
        library.pthread_mutexattr_setpshared(attribute, _PROCESS_SHARED),
        library.pthread_mutexattr_setrobust(attribute, _ROBUST),
        # Who asks twice is told, and who frees what it does not hold does nothing.
        library.pthread_mutexattr_settype(attribute, _ERRORCHECK),
        library.pthread_mutex_init(mutex, attribute),
    ]
    if any(codes):
        raise OSError(max(codes), f"a lock for shared limits: {os.strerror(max(codes))}")


def _quiet(function: ctypes._NamedFuncPointer) -> ctypes._NamedFuncPointer:
    function.argtypes = [ctypes.c_void_p]
    function.restype = ctypes.c_int
    return function
