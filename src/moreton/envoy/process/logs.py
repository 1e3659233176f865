"""A log file that another program appends to, kept within bounds from outside."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

# One file and the one before: enough for the last minutes of a crash loop.
LOG_BYTES_MAX = 10 * 1024 * 1024
_TAIL_BYTES = 16 * 1024


class LogFile:
    """The log at *path*; what no longer fits is moved to `<name>.1`, which is replaced."""

    def __init__(self, path: Path, *, bytes_max: int = LOG_BYTES_MAX) -> None:
        self.path = path
        self._bytes_max = bytes_max

    def size(self) -> int:
        """How many bytes it holds; 0 when there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def tail(self, lines: int, *, since: int = 0) -> str:
        """The last *lines* of what was appended after the first *since* bytes."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                begin = max(since if since <= size else 0, size - _TAIL_BYTES)
                file.seek(begin)
                text = file.read(_TAIL_BYTES).decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def bound(self) -> bool:
        """Move its content away when there is too much; whether there was.

        The writer keeps its descriptor: it must append (`>>`), and lines that it writes during the
        copy are lost. On a full disk the content goes without a copy, which gives room.
        """
        if self.size() <= self._bytes_max:
            return False
        before = self.path.with_name(f"{self.path.name}.1")
        making = self.path.with_name(f"{self.path.name}.making")
        try:
            with self.path.open("rb") as source, making.open("wb") as copy:
                source.seek(-min(self._bytes_max, self.size()), os.SEEK_END)
                shutil.copyfileobj(source, copy, 1024 * 1024)
            making.replace(before)
        except OSError:
            with contextlib.suppress(OSError):
                making.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.truncate(self.path, 0)
        return True
