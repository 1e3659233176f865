"""A loop in a thread of its own, with the store that lives there; one in each process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from moreton.election.holding import OWNER
from moreton.election.place import wait_left
from moreton.store import Store, open_store
from moreton.store.errors import StoreClosed

_Answer = TypeVar("_Answer")
# The end of a program is not put off for longer by a store that does not answer.
CLOSE_SECONDS_MAX = 2.0


class SyncStore:
    """The store at *url*, for threads.

    Nothing is opened before the first use, and a process that was forked off opens its own: it may
    stand in a module that a preforking server loads. `with` it, or `close` it, or leave that to the
    end of the program.
    """

    def __init__(self, url: str) -> None:
        if not isinstance(url, str):
            raise TypeError(f"{url!r} is not an address; write one like etcd://127.0.0.1:2379")
        self.url = url
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._closed = False
        _STORES.add(self)

    def call(self, ask: Callable[[Store], Awaitable[_Answer]]) -> _Answer:
        """What *ask* answers in the store's own loop: `store.call(lambda s: s.range(b"key"))`.

        Raises what it raises, and the errors of opening the store.
        """
        engine = self.engine()

        async def asked() -> _Answer:
            return await ask(engine.store)

        return engine.wait(engine.start(asked))

    def close(self) -> None:
        """Close the store, in at most two seconds; what is held is lost. May be called again."""
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
        if engine is not None and engine.pid == os.getpid():
            engine.close()

    def engine(self) -> Engine:
        """The one of this process, begun if need be. Raises `StoreClosed`. For this package."""
        with self._lock:
            if self._closed:
                raise StoreClosed
            if self._engine is None or self._engine.pid != os.getpid():
                if self._engine is not None:
                    # Its sockets are the parent's: nothing of it may be ended from here.
                    _FORKED.append(self._engine)
                self._engine = Engine(self.url)
            return self._engine

    def unlock(self) -> None:
        """After a fork. For this module."""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_store(store: SyncStore) -> None:
    """Raises `TypeError`."""
    if not isinstance(store, SyncStore):
        raise TypeError(f"{store!r} is not a SyncStore; make one with SyncStore(address)")


class Engine:
    """The thread, its loop and the store. Raises the errors of opening the store."""

    def __init__(self, url: str) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        # What is begun is begun before the loop is stopped, or not at all: nobody would end it.
        self._beginning = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="moreton-election", daemon=True)
        self._thread.start()
        try:
            self.store: Store = self.wait(self.start(lambda: _open(url)))
        except BaseException:
            self._stop()
            raise
        atexit.register(self.close)

    def start(self, work: Callable[[], Awaitable[_Answer]]) -> Future[_Answer]:
        """Begin *work* in the loop, for the thread that calls.

        Raises `StoreClosed` once it is stopped, and in a process that was forked off, which does
        not have the thread.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "a SyncStore was used by what runs in its own loop: it would wait for itself for "
                "ever; use the store that was handed over, and await it"
            )
        if self.pid == os.getpid():
            with self._beginning:
                if not self._stopped:
                    asked = self._do(work, threading.get_ident())
                    return asyncio.run_coroutine_threadsafe(asked, self.loop)
        raise StoreClosed

    @staticmethod
    def wait(future: Future[_Answer]) -> _Answer:
        """What comes of *future*; if this thread is interrupted, it is cancelled."""
        try:
            return future.result()
        except _Ends as ends:
            raise ends.error from None
        except BaseException:
            if not future.done():
                future.cancel()
            raise

    def close(self) -> None:
        """Close the store and end the thread."""
        atexit.unregister(self.close)
        if self.pid != os.getpid():
            return
        with contextlib.suppress(TimeoutError, StoreClosed):
            self.start(self._close).result(CLOSE_SECONDS_MAX)
        self._stop()

    async def _do(self, work: Callable[[], Awaitable[_Answer]], owner: int) -> _Answer:
        OWNER.set(owner)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await work()
        except (SystemExit, KeyboardInterrupt) as error:
            raise _Ends(error) from error
        finally:
            self._tasks.discard(task)

    async def _close(self) -> None:
        """What is held is given back while there is a store."""
        rest = self._tasks - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)
        await wait_left()
        await self.store.close()

    def _stop(self) -> None:
        with self._beginning:
            if not self._stopped:
                self._stopped = True
                self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSE_SECONDS_MAX)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            rest = asyncio.all_tasks(self.loop)
            for task in rest:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        finally:
            self.loop.close()


class _Ends(Exception):
    """What was called ends a program: raised in the loop, it would end that, and all who wait."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(str(error))


_FORKED: list[Engine] = []
_STORES: weakref.WeakSet[SyncStore] = weakref.WeakSet()


def _after_fork() -> None:
    """Another thread of the parent may have held the lock, and is not here to release it."""
    for store in _STORES:
        store.unlock()


os.register_at_fork(after_in_child=_after_fork)


async def _open(url: str) -> Store:
    return open_store(url)
