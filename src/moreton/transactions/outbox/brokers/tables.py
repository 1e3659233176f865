"""The built-in broker: tables of SQLite or PostgreSQL, no other server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Instant, SystemClock
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.outbox.brokers.port import FRAMES_MAX, Extent, Frame, Subscription
from moreton.transactions.outbox.errors import BrokerUnavailable
from moreton.transactions.outbox.places.place import Place
from moreton.transactions.outbox.tables import log
from moreton.transactions.outbox.tables.schema import broker_schema, install
from moreton.transactions.outbox.tables.script import Script

T = TypeVar("T")
_EXPIRE_EVERY = timedelta(seconds=30)
# How often an idle reader asks: the first times, doubling, and at most.
_POLL_SECONDS, _POLL_SECONDS_MAX = 0.002, 0.02

_APPENDING, _APPENDED = Failpoint("broker.appending"), Failpoint("broker.appended")


class TableBroker:
    """A broker of *place*, which one thread of its own speaks with."""

    def __init__(self, place: Place, *, retain: timedelta) -> None:
        self.name = f"the broker in {place.name}"
        self._place = place
        self._retain = retain
        self._clock = SystemClock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="moreton-broker")
        self._installed = False
        self._expire_at = Instant(0)

    async def publish(self, topic: str, body: bytes, id: str) -> None:  # noqa: A002, ARG002
        """As `Broker.publish`."""
        await self._run(self._append, topic, body)

    async def subscribe(self, topic: str, after: int) -> Subscription:
        """As `Broker.subscribe`."""
        return _Reader(self, topic, after)

    async def extent(self, topic: str) -> Extent:
        """As `Broker.extent`."""
        return Extent(*await self._run(self._ask, log.extent(topic)))

    async def frames(self, topic: str, after: int) -> list[Frame]:
        """What there is behind *after*."""
        found = await self._run(self._ask, log.after(topic, after, FRAMES_MAX))
        return [Frame(position, body) for position, body in found]

    async def close(self) -> None:
        """As `Broker.close`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._place.close)
        self._thread.shutdown(wait=False)

    async def _run(self, function: Callable[..., T], *values: object) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, function, *values)
        except MoretonError as error:
            raise BrokerUnavailable(broker=self.name, reason=str(error)) from error

    def _append(self, topic: str, body: bytes) -> None:
        self._install()
        now = self._clock.now()
        with self._place.begin() as work:
            work.run(log.append(topic, body, uuid4().hex))
            _APPENDING()
        _APPENDED()
        if now >= self._expire_at:
            count = self._place.run(log.expire(self._place.dialect, topic, self._retain))
            self._expire_at = now if count >= log.PRUNE_ROWS_MAX else now + _EXPIRE_EVERY

    def _ask(self, script: Script[T]) -> T:
        self._install()
        return self._place.ask(script)

    def _install(self) -> None:
        if not self._installed:
            dialect = self._place.dialect
            self._place.run(install(dialect, broker_schema(dialect)))
            self._installed = True


class _Reader:
    def __init__(self, broker: TableBroker, topic: str, after: int) -> None:
        self._broker = broker
        self._topic = topic
        self._after = after

    async def read(self, wait: timedelta) -> Sequence[Frame]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        pause = _POLL_SECONDS
        while True:
            found = await self._broker.frames(self._topic, self._after)
            if found:
                self._after = found[-1].position
                return found
            if loop.time() >= until:
                return ()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _POLL_SECONDS_MAX)

    async def close(self) -> None:
        pass
