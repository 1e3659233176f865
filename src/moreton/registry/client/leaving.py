"""Leaving the registry when the program ends: at exit, and on SIGTERM before anything else."""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import TypeAlias

from moreton.registry.client.draining import drain
from moreton.registry.client.worker import Worker
from moreton.registry.core.heartbeat import Phase
from moreton.registry.core.standing import InstanceState

# Who stops containers kills after 10 s: this leaves the program half of that.
DRAIN_SECONDS_MAX = 5.0
# When nobody can say what the proxies know: requests that they sent before need an open port.
GRACE_SECONDS = 0.3
# The end of the program is put off no longer than this.
LEAVE_SECONDS_MAX = 2.5

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None


class _Leaving:
    """What this process has registered, and whose SIGTERM it holds."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.previous: _Handler = None
        self.has_begun = False


_state = _Leaving()


def remember(worker: Worker, *, on_sigterm: bool) -> None:
    """Let *worker* leave when this process ends; from the main thread if *on_sigterm*."""
    if not _state.workers:
        atexit.register(_at_exit)
    _state.workers.append(worker)
    # Whoever ignores SIGTERM goes on serving after it, and a handler of C code cannot be called.
    if on_sigterm and signal.getsignal(signal.SIGTERM) not in {signal.SIG_IGN, None, _on_sigterm}:
        _state.previous = signal.signal(signal.SIGTERM, _on_sigterm)


def forget(worker: Worker) -> None:
    """*worker* leaves by itself."""
    if worker in _state.workers:
        _state.workers.remove(worker)
    if not _state.workers:
        atexit.unregister(_at_exit)


def _at_exit() -> None:
    _leave_and_wait(_own_workers())


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Begin to leave and return, so that the program goes on serving; the signal comes again."""
    workers = _own_workers()
    if workers and not _state.has_begun:
        _state.has_begun = True
        # Takes no lock, so that it matters not what the main thread was doing.
        _thread.start_new_thread(_leave_then_signal, (workers,))
        return
    _hand_on(number, frame)


def _leave_then_signal(workers: list[Worker]) -> None:
    """Nothing new is sent, what is under way ends, the registration ends; then the signal."""
    for worker in workers:
        worker.restate(InstanceState.DRAINING)
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    known = True
    for worker in workers:
        left = timedelta(seconds=max(deadline - time.monotonic(), 0))
        known = drain(worker, left).acknowledged and known
    _leave_and_wait(workers)
    if not known:
        time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _leave_and_wait(workers: list[Worker]) -> None:
    for worker in workers:
        worker.leave()
    deadline = time.monotonic() + LEAVE_SECONDS_MAX
    for worker in workers:
        worker.wait_phase(Phase.LEFT, max(deadline - time.monotonic(), 0))


def _hand_on(number: int, frame: FrameType | None) -> None:
    previous = _state.previous
    if callable(previous):
        previous(number, frame)
    elif previous == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _own_workers() -> list[Worker]:
    """Not those that were inherited by a fork: they are the parent's to end."""
    return [worker for worker in _state.workers if worker.owner_pid == os.getpid()]
