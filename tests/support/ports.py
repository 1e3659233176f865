"""Ports for the servers of tests: no two tests get the same one, whichever process they run in."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from moreton.kernel.ports import is_free

# Below those of `moreton.kernel.ports`, and of outgoing connections.
_FIRST = 10_000
_COUNT = 10_000
_LAST_GIVEN = Path(tempfile.gettempdir()) / f"moreton-test-ports-{os.getuid()}"


def free_port() -> int:
    """The next free port, in turn for all processes of this user."""
    with _LAST_GIVEN.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or 0)
        for _ in range(_COUNT):
            number = (number + 1) % _COUNT
            if is_free(_FIRST + number):
                break
        file.truncate(0)
        file.write(str(number))
    return _FIRST + number
