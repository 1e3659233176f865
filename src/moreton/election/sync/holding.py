"""What a thread holds: a task of the store's loop holds it for the thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any

from moreton import election
from moreton.election.core.errors import TermLost
from moreton.election.sync.engine import Engine, SyncStore
from moreton.store import Compare, Store, TxnResult
from moreton.store.core.model import Op


class Term:
    """As `moreton.election.Term`, for a thread: nothing can cancel that, so it asks `check`."""

    def __init__(self, term: election.Term, engine: Engine) -> None:
        self.token = term.token
        self.key = term.key
        self._term = term
        self._engine = engine

    def __repr__(self) -> str:
        return repr(self._term)

    @property
    def is_held(self) -> bool:
        """Whether it can be relied on at this very moment: by the clock, without asking anyone.

        Never in a process that was forked off meanwhile: what is held is its parent's.
        """
        return self._engine.pid == os.getpid() and self._term.is_held

    @property
    def guard(self) -> Compare:
        """Holds in the store as long as this term does, as one of a transaction's comparisons."""
        return self._term.guard

    def check(self) -> None:
        """Return if it is held. Raises `LeadershipLost` or `LockLost` if not: before each step."""
        if self._engine.pid != os.getpid():
            self._term._life.end("this process was forked from its holder")  # noqa: SLF001 - ours
        self._term.check()

    def wait_lost(self, timeout: timedelta | None = None) -> bool:
        """Wait until it is not held any more, at most *timeout*; whether it is not."""
        if self._engine.pid != os.getpid():
            return True
        waiting = self._engine.start(self._term.wait_lost)
        try:
            waiting.result(None if timeout is None else timeout.total_seconds())
        except futures.TimeoutError:
            return False
        finally:
            waiting.cancel()
        return True

    def write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        """Do *then* in one transaction, if this term still holds and so does every *compare*.

        Whether it was done is in the result's `succeeded`: false if one of *compare* did not hold.
        Raises `FencedOff` when the term is over, then nothing was written; as `check` in a process
        that was forked off; and the store's errors.
        """
        engine = self._own_engine()
        return engine.wait(engine.start(lambda: self._term.write(then, compare=compare)))

    def proclaim(self, value: bytes) -> None:
        """Tell everyone who observes another value, while going on. Raises as `write`."""
        engine = self._own_engine()
        engine.wait(engine.start(lambda: self._term.proclaim(value)))

    def resign(self) -> None:
        """Hand over now: the next in line is in as soon as it is told. The body goes on.

        Raises as `check` in a process that was forked off: it is not its own to hand over.
        """
        engine = self._own_engine()
        engine.wait(engine.start(self._term.resign))

    def _own_engine(self) -> Engine:
        # That of a parent has no thread here: what is asked of it would never be answered.
        if self._engine.pid != os.getpid():
            self.check()
        return self._engine


Entering = Callable[[Store], AbstractAsyncContextManager[election.Term]]


class Holding(AbstractContextManager[Term]):
    """`with` it: entered when it is one's turn; left, it hands over. For one use.

    A body that ends well was covered to its end; else it ends by the error of the loss.
    """

    def __init__(self, store: SyncStore, entering: Entering) -> None:
        self._store = store
        self._entering = entering
        self._engine: Engine | None = None
        self._ending: asyncio.Event | None = None
        self._task: futures.Future[None] | None = None

    def __enter__(self) -> Term:
        """Raises `StillHeld`, `AlreadyHeld` and the store's errors; then nothing is held."""
        engine = self._engine = self._store.engine()
        self._ending = asyncio.Event()
        entered: futures.Future[election.Term] = futures.Future()
        self._task = engine.start(partial(self._hold, entered, self._ending))
        try:
            either: list[futures.Future[Any]] = [entered, self._task]
            futures.wait(either, return_when=futures.FIRST_COMPLETED)
        except BaseException:
            # Ctrl-C while waiting: the place in the queue must not stay.
            self._task.cancel()
            raise
        if not entered.done():
            self._task.result()
        return Term(entered.result(), engine)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        engine, ending, task = self._engine, self._ending, self._task
        assert engine is not None
        assert ending is not None
        assert task is not None
        if engine.pid != os.getpid():
            return  # it is the parent's to let go
        if not engine.loop.is_closed():
            engine.loop.call_soon_threadsafe(ending.set)
        try:
            engine.wait(task)
        except TermLost:
            if error is None:
                raise

    async def _hold(self, entered: futures.Future[election.Term], ending: asyncio.Event) -> None:
        assert self._engine is not None
        async with self._entering(self._engine.store) as term:
            entered.set_result(term)
            try:
                await ending.wait()
            except asyncio.CancelledError:
                if not term.is_held:
                    # Lost: the thread must have stopped before the lease is given back.
                    await ending.wait()
                raise
