"""Notices that `moreton.yaml` changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

POLL_SECONDS = 0.1

# Of every file: when it changed last, how long it is, which file it is.
_Prints: TypeAlias = dict[str, tuple[int, int, int]]


async def watch_edits(
    path: Path, on_edit: Callable[[], Awaitable[None]], *, seen: _Prints | None = None
) -> None:
    """Call *on_edit* after each change of *path*, a file or a folder; until cancelled.

    An edit counts once two looks in a row find the same: editors write in several steps.
    """
    applied = prints(path) if seen is None else seen
    before = applied
    while True:
        await asyncio.sleep(POLL_SECONDS)
        now = prints(path)
        if now == before and now != applied:
            applied = now
            await on_edit()
        before = now


def prints(path: Path) -> _Prints:
    """What tells one state of *path* from another, by file name."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    found: _Prints = {}
    for file in files:
        try:
            about = file.stat()
        except OSError:
            continue  # in the middle of being replaced, or gone: the next look tells
        found[file.name] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found
