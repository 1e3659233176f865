"""The topics of a consumer, read ahead while it works."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeAlias

from moreton.transactions.outbox.brokers.port import Broker, Extent, Frame
from moreton.transactions.outbox.core.event import Arrived, read_batch
from moreton.transactions.outbox.errors import EventsExpired
from moreton.transactions.outbox.handling import Batch
from moreton.transactions.outbox.inbox import Inbox
from moreton.transactions.outbox.tables.incoming import Reached
from moreton.transactions.signal import Signal

# One transaction: more saves little, and is lost together when one event fails.
BATCH_EVENTS_MAX = 1000
# Messages read ahead, of all topics.
AHEAD_MAX = 32
_READ_WAIT = timedelta(seconds=1)

_Read: TypeAlias = tuple[str, str, Frame, list[Arrived]]


class Readers:
    """One task per topic that reads ahead; fails as the first of them does."""

    def __init__(
        self, broker: Broker, inbox: Inbox, topics: Sequence[str], reached: Mapping[str, Reached]
    ) -> None:
        self._broker = broker
        self._inbox = inbox
        self._topics = topics
        self._reached = reached
        self._ahead: deque[_Read] = deque()
        self._some, self._room = Signal(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to read."""
        self._tasks = [asyncio.create_task(self._read(topic)) for topic in self._topics]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(BaseException):
                await task

    async def next(self, wait: timedelta) -> Batch:
        """What came, within *wait*; an empty batch if nothing did. Raises what a reader raised."""
        batch = Batch()
        if not self._ahead:
            self._some.clear()
            await self._some.wait(wait.total_seconds())
        while self._ahead and len(batch.arrived) < BATCH_EVENTS_MAX:
            self._put(batch, self._ahead.popleft())
        self._room.set()
        if not batch.reached:
            for task in self._tasks:
                if task.done():
                    task.result()
        return batch

    def _put(self, batch: Batch, read: _Read) -> None:
        topic, epoch, frame, arrived = read
        interest = self._inbox.interest
        batch.reached[topic] = Reached(frame.position, epoch)
        batch.arrived.extend(one for one in arrived if interest.concerns(one))

    async def _read(self, topic: str) -> None:
        reached = self._reached.get(topic)
        extent = await self._broker.extent(topic)
        after = self._checked(topic, reached, extent)
        subscription = await self._broker.subscribe(topic, after)
        try:
            while True:
                for frame in await subscription.read(_READ_WAIT):
                    while len(self._ahead) >= AHEAD_MAX:
                        self._room.clear()
                        await self._room.wait()
                    self._ahead.append((topic, extent.epoch, frame, read_batch(frame.body)))
                    self._some.set()
        finally:
            await subscription.close()

    def _checked(self, topic: str, reached: Reached | None, extent: Extent) -> int:
        """Where to begin: behind what was reached, at the beginning of a topic made anew."""
        if reached is None:
            return 0
        if reached.epoch not in {extent.epoch, ""} or reached.position > extent.last:
            return 0
        if reached.position + 1 < extent.first:
            raise EventsExpired(
                consumer=self._inbox.consumer,
                topic=topic,
                position=reached.position,
                first=extent.first,
            )
        return reached.position
