"""Starting a program so that it is never lost: it begins only once it is remembered.

The program waits behind a pipe until its identity is on disk. Whoever starts it may be killed at
any moment: before that the pipe closes and the program never begins, after that the next control
plane finds it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from moreton.envoy.identity import ProcessIdentity, identify

# Envoy asks the kernel to be ended with its parent (PR_SET_PDEATHSIG), so it must have none but
# init: the outer shell ends at once, and the program begins after that. Its soft limit of open
# files is raised to the hard one: the usual 1,024 are less than 500 requests at a time.
_ORPHAN = """
out=$1; err=$2; shift 2; exec 3<&0
(
  read -r go <&3 || exit 125
  ulimit -S -n "$(ulimit -H -n)" 2>/dev/null
  exec "$@" 3<&-
) </dev/null >>"$out" 2>>"$err" &
echo $!
"""


def spawn_orphan(
    command: Sequence[str],
    *,
    output: Path,
    errors: Path,
    remember: Callable[[ProcessIdentity], None],
    environment: Mapping[str, str] | None = None,
) -> ProcessIdentity:
    """Start *command* in a session of its own as nobody's child, so that it outlives us.

    *remember* is called before the program begins; if it raises, the program never does. It has
    our environment and what *environment* adds. Its standard output is appended to *output*, its
    errors to *errors*. Raises `OSError`; a command that cannot be run ends with status 126 or 127
    instead.
    """
    files = (str(file.absolute()) for file in (output, errors))
    shell = subprocess.Popen(  # noqa: S603 - a fixed script; the command is not parsed again
        ["/bin/sh", "-c", _ORPHAN, "moreton", *files, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    assert shell.stdout is not None
    with shell.stdout:
        said = shell.stdout.read()
    shell.wait()  # from here on the waiting one is nobody's child
    if not said.strip().isdigit():
        if shell.stdin is not None:
            shell.stdin.close()
        raise ProcessLookupError(f"{command[0]} could not be started")
    return _let_go(shell, int(said), remember)


def _let_go(
    shell: subprocess.Popen[bytes], pid: int, remember: Callable[[ProcessIdentity], None]
) -> ProcessIdentity:
    assert shell.stdin is not None
    try:
        identity = identify(pid)
        if identity is None:
            raise ProcessLookupError(f"process {pid} ended before it began")
        remember(identity)
        with contextlib.suppress(BrokenPipeError):
            shell.stdin.write(b"go\n")
            shell.stdin.flush()
    finally:
        with contextlib.suppress(BrokenPipeError):
            shell.stdin.close()
    return identity
