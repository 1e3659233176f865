"""Notices that files changed: `moreton.yaml`, certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

POLL_SECONDS = 0.1

# Of every file: when it changed last, how long it is, which file it is.
Prints: TypeAlias = dict[str, tuple[int, int, int]]


async def watch_edits(
    files: Callable[[], Sequence[Path]],
    on_edit: Callable[[], Awaitable[None]],
    *,
    seconds: float = POLL_SECONDS,
) -> None:
    """Call *on_edit* after each change of *files*; looks every so many *seconds*; never returns.

    An edit counts once two looks in a row find the same: editors write in several steps. A change
    of which files there are to look at counts as well.
    """
    applied = before = prints(files())
    while True:
        await asyncio.sleep(seconds)
        now = prints(files())
        if now == before and now != applied:
            applied = now
            await on_edit()
        before = now


def files_of(path: Path) -> list[Path]:
    """The files that a configuration at *path* is read from."""
    return sorted(path.glob("*.yaml")) if path.is_dir() else [path]


def prints(files: Sequence[Path]) -> Prints:
    """What tells one state of *files* from another."""
    found: Prints = {}
    for file in files:
        try:
            about = file.stat()
        except OSError:
            continue  # in the middle of being replaced, or gone: the next look tells
        found[str(file)] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found
