"""Exit statuses, and the one place where an error becomes a message.

No command shows a traceback, unless `MORETON_DEBUG=1`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from moreton.kernel.errors import MoretonError


class Exit(IntEnum):
    """What an exit status says; documented in docs/reference/cli.md."""

    OK = 0
    NO = 1  # the command worked and its answer is no: a check failed, no route matches
    USAGE = 2  # wrong options or arguments
    CONFIGURATION = 3  # moreton.yaml is refused
    NOT_RUNNING = 4  # no control plane, or no node of the cluster, answers
    REFUSED = 5  # the control plane, or the cluster, refused what was asked
    TROUBLE = 6  # an expected trouble: port in use, no Envoy, state folder held
    BUG = 70  # a fault in Moreton itself (EX_SOFTWARE of sysexits.h)
    INTERRUPTED = 130  # Ctrl-C


_BY_CODE = {
    "config-refused": Exit.CONFIGURATION,
    "not-running": Exit.NOT_RUNNING,
    "api-unreachable": Exit.NOT_RUNNING,
    "api-refused": Exit.REFUSED,
    "drain-incomplete": Exit.NO,
    "program-not-stopped": Exit.NO,
    "rollout-stopped": Exit.NO,
    "saga-schedule-unknown": Exit.REFUSED,
    "saga-decision-refused": Exit.REFUSED,
    "saga-signal-refused": Exit.REFUSED,
    "saga-unknown": Exit.REFUSED,
    "saga-version-unknown": Exit.REFUSED,
    "unknown-instance": Exit.REFUSED,
    "instance-ambiguous": Exit.USAGE,
    "cluster-node-unreachable": Exit.NOT_RUNNING,
    "cluster-address-taken": Exit.REFUSED,
    "cluster-clocks-apart": Exit.REFUSED,
    "cluster-last-voter": Exit.REFUSED,
    "cluster-majority-at-risk": Exit.REFUSED,
    "cluster-refused": Exit.REFUSED,
    "cluster-secret-refused": Exit.REFUSED,
    "cluster-unknown-member": Exit.REFUSED,
}


# The functions in which what a command says is written: our own, click's and rich's.
_PRINTING = frozenset({"print_json", "print_line", "echo", "_write_buffer"})


class OutputNotWritten(MoretonError):
    """Standard output takes nothing more."""

    code = "output-not-written"

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"standard output cannot be written, {reason}: the answer is cut off, and what the "
            "command changed stays so; make room where it goes, or send it elsewhere"
        )


def guarded(command: Callable[[], object]) -> int:
    """Run *command*; its exit status. Every error is one message on standard error."""
    try:
        _run(command)
    except MoretonError as error:
        if _debug():
            raise
        return _say(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as left:
        # The command line's library notices it first, and would say 1: that the answer is no.
        if isinstance(left.__context__, BrokenPipeError):
            return _reader_left()
        raise
    except Exception as error:
        if _debug():
            raise
        return _say_bug(error)
    return Exit.OK


def _run(command: Callable[[], object]) -> None:
    """Run *command*, and see to it that all it said is out. Raises `OutputNotWritten`."""
    try:
        _run_flushed(command)
    except BrokenPipeError:
        raise
    except OSError as error:
        if not _is_of_output(error):
            raise
        _hush(sys.stdout)
        raise OutputNotWritten(reason=(error.strerror or str(error)).lower()) from error


def _run_flushed(command: Callable[[], object]) -> None:
    try:
        command()
    except SystemExit as left:
        if not left.code:  # else the status says more than the output
            _flush()
        raise
    _flush()


def _flush() -> None:
    if sys.stdout is not None:  # as in `moreton routes >&-`
        sys.stdout.flush()


def _is_of_output(error: OSError) -> bool:
    """Whether *error* is that standard output takes nothing more."""
    try:
        _flush()
    except OSError:
        return True  # what could not be written is still to be
    # An output without a buffer has nothing left to be written.
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].name in _PRINTING


def _hush(stream: TextIO) -> None:
    """Let what is still to be written to *stream* be forgotten at the end, not complained of."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _reader_left() -> int:
    """The reader of a pipe left (`moreton routes | head`); nobody is there to tell."""
    _hush(sys.stdout)
    return Exit.OK


def _say(error: MoretonError) -> int:
    faults = getattr(error, "faults", None)
    for line in faults or (error,):
        _tell(f"error: {line}")
    return _BY_CODE.get(error.code, Exit.TROUBLE)


def _tell(line: str) -> None:
    try:
        print(line, file=sys.stderr)  # noqa: T201 - this is where errors are shown
    except OSError:
        _hush(sys.stderr)  # the status says it still


def _say_bug(error: Exception) -> int:
    where = _keep_traceback(error)
    message = (
        f"error: moreton itself failed, {type(error).__name__}: {error}: the command did not "
        f"finish; run it again with MORETON_DEBUG=1 to see where, and report that{where}"
    )
    _tell(message)
    return Exit.BUG


def _keep_traceback(error: Exception) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="moreton-", suffix=".traceback", delete=False
        ) as kept:
            kept.write("".join(traceback.format_exception(error)))
    except OSError:
        return ""
    return f" (kept in {Path(kept.name)})"


def _debug() -> bool:
    return os.environ.get("MORETON_DEBUG", "") not in {"", "0"}
