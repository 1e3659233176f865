"""What was made durable, in the order in which it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def synced_paths(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that are synced from now on, by the names they have then."""
    found: list[Path] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        found.append(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return found
