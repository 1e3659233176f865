"""Waits that end: what does not come within their time is said, and what there was instead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, AnyStr

SECONDS = 30.0
# Of a process that does much, on a machine that does more.
ANSWER_SECONDS = 120.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The first truthy value of *condition*; fails with *what* after *seconds*."""
    until, pausing = time.monotonic() + seconds, pauses()
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(next(pausing))
    return found


def pauses() -> Iterator[float]:
    """Seconds between two looks: 5 ms at first, soon 50, so that looking leaves time to work."""
    pause = 0.005
    while True:
        yield pause
        pause = min(1.3 * pause, 0.05)


def line_of(pipe: IO[AnyStr] | None, what: str, seconds: float = SECONDS) -> AnyStr:
    """The next line that a program says, empty at its end; *what* tells what it is to say."""
    assert pipe is not None
    found: list[AnyStr] = []
    reading = threading.Thread(target=lambda: found.append(pipe.readline()), daemon=True)
    reading.start()
    reading.join(seconds)
    assert found, f"no line within {seconds:g} s: {what}"
    return found[0]


def join_all(threads: Iterable[threading.Thread], seconds: float = SECONDS) -> None:
    """Return once all *threads* ended; fails with what one does that does not end."""
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident or 0)
            doing = "".join(traceback.format_stack(frame))
            raise AssertionError(f"{thread.name} goes on after {seconds:g} s:\n{doing}")


def status_of_child(pid: int, seconds: float = SECONDS) -> int:
    """The exit status of a forked process, negative for a signal, once it ended."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < until, f"the child {pid} goes on after {seconds:g} s"
        time.sleep(0.005)


def end_at_once(process: subprocess.Popen[AnyStr], seconds: float = SECONDS) -> None:
    """Kill *process* and let go of its pipes, also where a child of it has them open."""
    process.kill()
    process.wait(seconds)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
