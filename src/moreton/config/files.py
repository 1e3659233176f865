"""The files of a configuration, and what tells one state of them from another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

# Of every file: when it changed last, how long it is, which file it is.
Prints: TypeAlias = dict[str, tuple[int, int, int]]


def yaml_files(folder: Path) -> list[Path]:
    """The `*.yaml` and `*.yml` files of *folder*, in order.

    Hidden ones are not its user's: Emacs locks `a.yaml` by a link to nowhere, `.#a.yaml`.
    """
    found = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    return sorted(file for file in found if not file.name.startswith("."))


def prints(files: Iterable[Path]) -> Prints:
    """What tells one state of *files* from another; those that cannot be looked at are left out."""
    found: Prints = {}
    for file in files:
        try:
            about = file.stat()
        except OSError:
            continue  # in the middle of being replaced, or gone: the next look tells
        found[str(file)] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found
