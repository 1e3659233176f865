"""Starting a program so that it is never lost: it begins only once it is remembered.

The program waits behind a pipe until its identity is on disk. Whoever starts it may be killed at
any moment: before that the pipe closes and the program never begins, after that the next control
plane finds it.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from moreton.envoy.identity import ProcessIdentity, identify

# `exec` keeps pid and start time, so what is remembered of the waiting shell holds for the program.
_CHILD = """
out=$1; err=$2; shift 2
read -r go || exit 125
exec "$@" </dev/null >>"$out" 2>>"$err"
"""

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


def spawn_child(
    command: Sequence[str],
    *,
    output: Path,
    remember: Callable[[ProcessIdentity], None],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> ProcessIdentity:
    """Start *command* as our child and the leader of a session of its own.

    *remember* is called before the program begins; if it raises, the program never does. What
    the program writes is appended to *output*. Who waits for its end must reap it (`reap`).
    Raises `OSError`; a command that cannot be run ends with status 126 or 127 instead.
    """
    waiting = _shell(_CHILD, command, (output, output), cwd=cwd, env=env, talks=False)
    try:
        return _let_go(waiting, waiting.pid, remember)
    finally:
        waiting.returncode = 0  # its end is for `reap`, not for Popen


def spawn_orphan(
    command: Sequence[str],
    *,
    output: Path,
    errors: Path,
    remember: Callable[[ProcessIdentity], None],
) -> ProcessIdentity:
    """Start *command* in a session of its own as nobody's child, so that it outlives us.

    As `spawn_child`, but its standard output goes to *output* and its errors to *errors*.
    """
    shell = _shell(_ORPHAN, command, (output, errors), cwd=None, env=None, talks=True)
    assert shell.stdout is not None
    with shell.stdout:
        said = shell.stdout.read()
    shell.wait()  # from here on the waiting one is nobody's child
    if not said.strip().isdigit():
        if shell.stdin is not None:
            shell.stdin.close()
        raise ProcessLookupError(f"{command[0]} could not be started")
    return _let_go(shell, int(said), remember)


def _shell(
    script: str,
    command: Sequence[str],
    files: tuple[Path, Path],
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    talks: bool,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - fixed scripts; the command is not parsed again
        ["/bin/sh", "-c", script, "moreton", *(str(file.absolute()) for file in files), *command],
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if talks else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


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
