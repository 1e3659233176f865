"""Several processes of the service that count together: each that ends is started again."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import FrameType

from moreton.ratelimit.errors import RateLimitServerNotStarted
from moreton.ratelimit.rls.running.files import Followed, FollowedRules
from moreton.ratelimit.rls.running.plan import Plan, open_store
from moreton.ratelimit.rls.running.worker import run_worker

_RESTART_SECONDS = 1.0
_STOP_SECONDS = 10.0
Say = Callable[[str], None]


def run(plan: Plan, say: Say) -> None:
    """Serve *plan* with as many processes as it says, until SIGTERM or SIGINT.

    Raises `ConfigRefused`, and `RateLimitServerNotStarted` where the address is taken.
    """
    _check_socket(plan.listen)
    if plan.processes == 1:
        run_worker(plan, say)
        return
    # Before any process: what is wrong is said once, and ends all.
    Followed(plan.path, plan.merge, plan.away).read()
    store = open_store(plan)
    if plan.rules is not None:
        FollowedRules(plan.rules, store, plan.last_good).begin()
    _check_free(plan.listen)
    _Crew(plan, say).run()


class _Crew:
    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan = plan
        self._say = say
        # A fork of a process that uses gRPC would not work.
        self._spawn = multiprocessing.get_context("spawn")
        self._ending = threading.Event()
        self._woken, self._wake = connection.Pipe(duplex=False)

    def run(self) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._end)
        members = [self._begin(number) for number in range(self._plan.processes)]
        try:
            while not self._ending.is_set():
                ready = connection.wait([self._woken, *(one.sentinel for one in members)])
                for number, member in enumerate(members):
                    if member.sentinel in ready and not self._ending.wait(_RESTART_SECONDS):
                        self._say(f"process {number} ended ({member.exitcode}): started again")
                        members[number] = self._begin(number)
        finally:
            _stop(members)

    def _begin(self, number: int) -> BaseProcess:
        started = self._spawn.Process(
            target=_work, args=(self._plan, number, os.getpid()), name=f"limits-{number}"
        )
        started.start()
        return started

    def _end(self, _: int, __: FrameType | None) -> None:
        self._ending.set()
        self._wake.send_bytes(b"end")


def _work(plan: Plan, number: int, parent: int) -> None:
    def say(text: str) -> None:
        print(f"limits {number}: {text}", flush=True)  # noqa: T201 - for people, and who starts it

    run_worker(plan, say, number=number, parent=parent)


def _stop(members: list[BaseProcess]) -> None:
    for member in members:
        member.terminate()
    until = time.monotonic() + _STOP_SECONDS
    for member in members:
        member.join(max(0.0, until - time.monotonic()))
        if member.is_alive():
            member.kill()
            member.join()


def _check_free(listen: str) -> None:
    """Processes of one plan share an address, and would share it with any others that do."""
    host, _, port = listen.rpartition(":")
    if listen.startswith("unix:") or port == "0":
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except (OSError, ValueError, OverflowError) as error:
            raise RateLimitServerNotStarted(
                f"{listen} cannot be listened on: {error}; give a HOST:PORT that no other program "
                "has, or unix:/PATH"
            ) from error


def _check_socket(listen: str) -> None:
    """A socket of a file is taken over from whoever left it, but not from one that answers."""
    path = listen.removeprefix("unix:")
    if path == listen:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)
        raise RateLimitServerNotStarted(
            f"{listen} cannot be listened on: another program answers there; give a path of its own"
        )
