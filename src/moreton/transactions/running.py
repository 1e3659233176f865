"""A program that works until it is told to stop, and what it does that blocks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
_STOPS = signal.SIGTERM, signal.SIGINT


class Blocking:
    """Calls what waits for a database, one call after the other.

    On a thread of its own, which is named *thread*. While `run` works, on the thread of
    the loop, as a turn of its own: to wake another thread and to be woken takes longer than most
    calls. No loop is said to run there meanwhile, so that what is called may run one, as Django
    demands.
    """

    def __init__(self, thread: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=thread)
        self._alone = False
        self._context = copy_context()

    async def call(self, function: Callable[..., T], *values: object) -> T:
        """What *function* of *values* comes to."""
        loop = asyncio.get_running_loop()
        if not self._alone:
            return await loop.run_in_executor(self._thread, function, *values)
        answer: asyncio.Future[T] = loop.create_future()

        def ask() -> None:
            # To stop the loop and to start it again takes longer than many calls.
            asyncio._set_running_loop(None)  # noqa: SLF001 - what loops say where they run
            try:
                result = function(*values)
            except BaseException as error:  # noqa: BLE001 - for who awaits it, as from a thread
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)
            finally:
                asyncio._set_running_loop(loop)  # noqa: SLF001

        # What one call leaves in its context, the next finds, as on a thread.
        loop.call_soon(ask, context=self._context)
        return await answer

    def run(self, serve: Callable[[], Awaitable[None]], stop: Callable[[], None]) -> None:
        """Run *serve*, on uvloop where it is there; SIGTERM and SIGINT call *stop*.

        Signals are left alone where this is not the main thread.
        """
        loop_factory = None
        with contextlib.suppress(ImportError):
            loop_factory = importlib.import_module("uvloop").new_event_loop
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            loop = runner.get_loop()
            with _told(lambda: loop.call_soon_threadsafe(stop)), _settled():
                self._alone = True
                self._context = copy_context()
                try:
                    loop.run_until_complete(_waited(serve))
                finally:
                    self._alone = False

    def close(self) -> None:
        """Call nothing any more."""
        self._thread.shutdown(wait=False)


async def _waited(serve: Callable[[], Awaitable[None]]) -> None:
    await serve()


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """Keep what was loaded until now from the collector of garbage.

    It would look through all of it every now and then, which takes longer than many batches.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _told(stop: Callable[[], object]) -> Iterator[None]:
    """Have signals call *stop*: a loop's own handlers may miss those between its turns."""
    before = {}
    try:
        for number in _STOPS:
            before[number] = signal.signal(number, lambda *_: stop())
    except ValueError:
        pass  # another thread
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
