"""Elections for threads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from queue import SimpleQueue
from typing import TypeVar

from moreton import election
from moreton.election.core.names import TTL_DEFAULT, Kind
from moreton.election.holding import check_bid
from moreton.election.place import check_queue
from moreton.election.sync.engine import SyncStore, check_store
from moreton.election.sync.holding import Holding, Term
from moreton.store import Store
from moreton.store.errors import StoreClosed

_Done = TypeVar("_Done")


class Election:
    """As `moreton.election.Election`, for threads."""

    def __init__(self, store: SyncStore, name: str, *, ttl: timedelta = TTL_DEFAULT) -> None:
        check_store(store)
        check_queue(Kind.ELECTION, name, ttl)
        self.name = name
        self._store = store
        self._ttl = ttl

    def campaign(self, value: bytes | None = None, *, wait: timedelta | None = None) -> Holding:
        """`with` it as the leader's `Term`; the body is what only a leader does.

        As `moreton.election.Election.campaign`, but the body is not cancelled: it asks `check`.
        """
        check_bid(value, wait)
        return Holding(self._store, lambda store: self._of(store).campaign(value, wait=wait))

    def lead(self, duty: Callable[[Term], _Done], *, value: bytes | None = None) -> _Done:
        """Run *duty* in this thread whenever this process leads, until it returns.

        As `moreton.election.Election.lead`. A *duty* that lost its leadership is not cancelled: the
        next campaign begins when it has returned or raised, as it does by `check`.
        """
        calls: SimpleQueue[tuple[Term, asyncio.Future[_Done]] | None] = SimpleQueue()
        engine = self._store.engine()

        async def hand_over(term: election.Term) -> _Done:
            done: asyncio.Future[_Done] = engine.loop.create_future()
            calls.put((Term(term, engine), done))
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError:
                await asyncio.wait({done})
                done.exception()  # a lost leadership's; what counts is that it has stopped
                raise

        leading = engine.start(lambda: self._of(engine.store).lead(hand_over, value=value))
        leading.add_done_callback(lambda _: calls.put(None))
        try:
            while (call := calls.get()) is not None:
                term, done = call
                try:
                    result = duty(term)
                except Exception as error:  # noqa: BLE001 - handed on, to be raised by `lead`
                    engine.loop.call_soon_threadsafe(done.set_exception, error)
                else:
                    engine.loop.call_soon_threadsafe(done.set_result, result)
        except BaseException:
            leading.cancel()
            raise
        return leading.result()

    def leader(self) -> election.Holder | None:
        """Who leads now; `None` if nobody does."""
        return self._store.call(lambda store: self._of(store).leader())

    def observe(self) -> Iterator[election.Holder | None]:
        """Who leads now, and then each change in order, as it comes; `None` while nobody does."""
        engine = self._store.engine()
        seen = self._of(engine.store).observe()

        async def following() -> election.Holder | None:
            return await anext(seen)

        try:
            while True:
                yield engine.wait(engine.start(following))
        finally:
            with contextlib.suppress(StoreClosed):
                engine.wait(engine.start(seen.aclose))

    def _of(self, store: Store) -> election.Election:
        return election.Election(store, self.name, ttl=self._ttl)
