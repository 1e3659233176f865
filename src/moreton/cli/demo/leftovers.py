"""Demonstrations that were killed: their folders, and the programs that they left running."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "moreton-demo-"
_LOCK = "lock"
_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.05


def held(folder: Path) -> int:
    """Hold *folder* for as long as this process lives; what to close to let go of it."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def sweep() -> int:
    """End the programs of demonstrations of this user that nobody holds; how many there were."""
    return sum(_swept(folder) for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def programs_in(folder: Path) -> list[int]:
    """The ids of this user's processes that work in *folder*; none where there is no /proc."""
    return [pid for pid in _processes() if _works_in(pid, folder)]


def _swept(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:  # somebody else's, or just being made
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _end(folder)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:  # it is under way
        return False
    finally:
        os.close(lock)
    return True


def _end(folder: Path) -> None:
    """SIGTERM, and SIGKILL for what does not heed it."""
    until = time.monotonic() + _PATIENCE_SECONDS
    how = signal.SIGTERM
    told: set[int] = set()
    while found := programs_in(folder):
        if time.monotonic() > until:
            how, told = signal.SIGKILL, set()
        for pid in set(found) - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        told |= set(found)
        if how is signal.SIGKILL:
            return
        time.sleep(_LOOK_SECONDS)


def _processes() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal())


def _works_in(pid: int, folder: Path) -> bool:
    try:
        place = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # it ended, or is another user's
        return False
    return place.is_relative_to(folder)
