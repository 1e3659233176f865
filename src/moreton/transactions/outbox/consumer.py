"""Reads topics, and has an inbox handle what it finds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Clock, SystemClock
from moreton.transactions.measuring import measure
from moreton.transactions.outbox.brokers import Broker, open_broker
from moreton.transactions.outbox.core.deciding import OnDead
from moreton.transactions.outbox.core.tenure import Tenure
from moreton.transactions.outbox.handling import Batch, Fenced, Handling, Statistics
from moreton.transactions.outbox.inbox import Inbox
from moreton.transactions.outbox.outbox import check_topic
from moreton.transactions.outbox.places import UNUSABLE, Place, open_place
from moreton.transactions.outbox.reading import Readers
from moreton.transactions.running import Blocking

_LOG = logging.getLogger(__name__)
TTL = timedelta(seconds=10)
REMEMBER = timedelta(days=14)
_RETRY, _RETRY_MAX = timedelta(milliseconds=50), timedelta(seconds=5)
_FAILURES_COUNTED = 16


class Consumer:
    """Has *inbox* handle the events of *topics* from *broker*, in *database*.

    Run as many as you like: one works, the others take over within *ttl* of its death. What one
    that was frozen still does is refused. Events handled longer than *remember* ago are forgotten:
    keep that longer than the broker keeps messages. With *aside_max* events set aside it takes no
    new ones until there are fewer.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        topics: Sequence[str],
        database: str | Place,
        broker: str | Broker,
        ttl: timedelta = TTL,
        remember: timedelta = REMEMBER,
        aside_max: int = 10_000,
        clock: Clock | None = None,
    ) -> None:
        check_kind("inbox", inbox, Inbox, "an Inbox")
        if isinstance(topics, str) or not topics:
            raise ValueError(f"topics is {topics!r}: give a list of at least one")
        for topic in topics:
            check_topic(topic)
        check_duration("ttl", ttl)
        check_duration("remember", remember)
        check_whole("aside_max", aside_max, 1)
        self._inbox = inbox
        self._topics = list(topics)
        self._place = open_place(database)
        self._broker = open_broker(broker)
        self._clock = clock or SystemClock()
        self._tenure = Tenure(ttl)
        self._handling = Handling(inbox, self._place, ttl=ttl, remember=remember)
        self._aside_max = aside_max
        self._holder = uuid4().hex
        self._stopping = asyncio.Event()
        self._failures = 0
        self._failing = ""
        self._aside = (0, 0)
        self._blocking = Blocking("moreton-consumer")

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; finishes the transaction under way."""
        self._blocking.run(self.serve, self.stop)

    async def serve(self) -> None:
        """Work until `stop`, or until cancelled."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._hold()
                except Fenced:
                    self._tenure.lost(self._clock.now())
                    self._handling.fenced += 1
                    measure("moreton_inbox_fenced", consumer=self._inbox.consumer)
                except MoretonError as error:
                    if self._tenure.token is None and isinstance(error, UNUSABLE):
                        raise
                    await self._on_failure(error)
        finally:
            await self._end()

    def stop(self) -> None:
        """End `serve` after the transaction under way."""
        self._stopping.set()

    def statistics(self) -> Statistics:
        """What was done so far."""
        return self._handling.statistics(leads=self._tenure.token is not None)

    async def _hold(self) -> None:
        """Get the lease, and work while it is ours."""
        while not self._stopping.is_set() and self._tenure.token is None:
            seen = await self._blocking.call(self._handling.look)
            if self._tenure.saw(seen, self._clock.now()):
                token = await self._blocking.call(self._handling.take, seen, self._holder)
                if token is not None:
                    self._tenure.took(token, self._clock.now())
                    break
            await self._pause(self._tenure.ttl / 3)
        if self._tenure.token is not None:
            await self._work(self._tenure.token)

    async def _work(self, token: int) -> None:
        reached = await self._blocking.call(self._handling.reached)
        async with Readers(self._broker, self._inbox, self._topics, reached) as readers:
            while not self._stopping.is_set():
                room = await self._room(token)
                batch = await readers.next(self._beat_wait()) if room else Batch()
                if not room:
                    await self._pause(self._handling.aside_poll)
                if batch.reached or self._tenure.due <= self._clock.now():
                    await self._blocking.call(self._handling.apply, token, batch)
                    self._tenure.confirmed(self._clock.now())
                self._failures = 0
                self._went_on()

    async def _room(self, token: int) -> bool:
        """Try what is due of the events set aside; whether there is room for more."""
        now = self._clock.now()
        if self._handling.aside_at <= now:
            self._aside = await self._blocking.call(self._handling.aside, token, now)
        dead, total = self._aside
        if self._inbox.on_dead is OnDead.BLOCK and dead:
            return False
        return total < self._aside_max

    def _beat_wait(self) -> timedelta:
        left = self._tenure.due - self._clock.now()
        return max(min(left, self._handling.aside_poll), timedelta(0))

    async def _on_failure(self, error: MoretonError) -> None:
        self._failures = min(self._failures + 1, _FAILURES_COUNTED)
        measure("moreton_inbox_failures", consumer=self._inbox.consumer)
        if str(error) != self._failing:
            self._failing = str(error)
            _LOG.warning("%s waits: %s", self._inbox.consumer, error)
        await self._pause(min(_RETRY * 2 ** (self._failures - 1), _RETRY_MAX))

    def _went_on(self) -> None:
        if self._failing:
            self._failing = ""
            _LOG.warning("%s goes on", self._inbox.consumer)

    async def _pause(self, wait: timedelta) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait.total_seconds()):
                await self._stopping.wait()

    async def _end(self) -> None:
        token = self._tenure.token
        if token is not None:
            with contextlib.suppress(MoretonError):
                await self._blocking.call(self._handling.release, token)
        await self._blocking.call(self._handling.close)
        await self._broker.close()
        self._blocking.close()
