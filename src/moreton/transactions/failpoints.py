"""Where a process may die: one name per boundary of a durable write.

A test kills a real process at each of them and looks at what is left. `MORETON_FAILPOINT=NAME`
makes this process send itself SIGKILL at the first passage, `NAME:3` at the third.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "MORETON_FAILPOINT"


class Failpoint:
    """One boundary, made once where its module is loaded, passed by calling it."""

    __slots__ = ("_left", "name")

    def __init__(self, name: str) -> None:
        if name in _KNOWN:
            raise ValueError(f"failpoint {name!r} is there already: each boundary has its own name")
        self.name = name
        wanted, _, count = os.environ.get(VARIABLE, "").partition(":")
        self._left = int(count or 1) if wanted == name else 0
        _KNOWN[name] = self

    def __call__(self) -> None:
        """Die here if it is this one's turn."""
        if self._left:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


_KNOWN: dict[str, Failpoint] = {}


def arm(name: str, passage: int = 1) -> None:
    """Let this process die at that passage of *name*, counted from now; `KeyError` for no point."""
    _KNOWN[name]._left = passage  # noqa: SLF001 - the same module


def failpoints(prefix: str = "") -> list[str]:
    """The names of all that were made so far and begin with *prefix*, sorted."""
    return sorted(name for name in _KNOWN if name.startswith(prefix))
