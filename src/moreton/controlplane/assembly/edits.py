"""Notices that files changed: `moreton.yaml`, certificates."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from moreton.config.files import Prints, prints, yaml_files

POLL_SECONDS = 0.1
_LOG = logging.getLogger("moreton.controlplane")


async def watch_edits(
    files: Callable[[], Sequence[Path]],
    on_edit: Callable[[], Awaitable[None]],
    *,
    seconds: float = POLL_SECONDS,
    applied: Prints | None = None,
) -> None:
    """Call *on_edit* after each change of *files*; looks every so many *seconds*; never returns.

    An edit counts once two looks in a row find the same: editors write in several steps. A change
    of which files there are to look at counts as well, and so does one since *applied*, what
    `prints` said when they were read (default: now). An edit that *on_edit* fails on is logged, and
    later ones are noticed all the same.
    """
    before = prints(files())
    if applied is None:
        applied = before
    while True:
        await asyncio.sleep(seconds)
        now = prints(files())
        if now == before and now != applied:
            applied = now
            try:
                await on_edit()
            except Exception:  # noqa: BLE001 - whatever it was, the next edit may mend it
                _LOG.exception("an edit could not be applied: what was in force goes on")
        before = now


def files_of(path: Path) -> list[Path]:
    """The files that a configuration at *path* is read from."""
    return yaml_files(path) if path.is_dir() else [path]
