"""Messages to one node: a connection that comes back, and a queue that does not grow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport.connection import Connection
from moreton.consensus.transport.settings import TransportSettings
from moreton.kernel.rng import Rng

Dial = Callable[[], Awaitable[Connection]]
# A connection that lasted so long was a good one: the next attempts begin with short waits again.
_GOOD_SECONDS = 1.0


class Link:
    """Sends to one node; *unreachable* is told once whenever something was lost for certain.

    While it connects, a few messages wait; while it waits to try again, they are dropped at once.
    """

    def __init__(
        self,
        dial: Dial,
        unreachable: Callable[[], None],
        *,
        settings: TransportSettings,
        rng: Rng,
    ) -> None:
        self.sent = self.dropped = 0
        self._dial = dial
        self._unreachable = unreachable
        self._settings = settings
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._connecting = True
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._loss_due = False
        self._kick = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def send_nowait(self, item: bytes) -> None:
        """Send *item*, or drop it."""
        connection, settings = self._connection, self._settings
        if connection is not None:
            full = (
                connection.queued_bytes + len(item) > settings.queue_bytes_max
                or connection.queued_items >= settings.queue_messages_max
            )
            if not full:
                self.sent += 1
                connection.post(item)
                return
        elif self._connecting and (
            len(self._waiting) < settings.queue_messages_max
            and self._waiting_bytes + len(item) <= settings.queue_bytes_max
        ):
            self._waiting.append(item)
            self._waiting_bytes += len(item)
            return
        self.dropped += 1
        self._note_loss()

    def kick(self) -> None:
        """The node was heard of: do not wait to connect."""
        self._kick.set()

    def renew(self) -> None:
        """Its address is another: leave the old connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._kick.set()

    async def close(self) -> None:
        """Send what is queued, for a moment, and stop."""
        connection = self._connection
        if connection is not None:
            await connection.finish(self._settings.ping_interval.total_seconds())
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            self._connecting = True
            self._kick.clear()
            try:
                connection = await self._dial()
            except ConsensusError:
                failures += 1
            else:
                began = self._loop.time()
                self._start(connection)
                try:
                    await connection.wait_closed()
                finally:
                    self._connection = None
                    connection.abort("closing")
                failures = 1 if self._loop.time() - began >= _GOOD_SECONDS else failures + 1
            self._connecting = False
            self._lose_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.backoff.seconds(failures, self._rng)):
                    await self._kick.wait()

    def _start(self, connection: Connection) -> None:
        self._connection = connection
        self._connecting = False
        for item in self._waiting:
            connection.post(item)
        self.sent += len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _lose_all(self) -> None:
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._note_loss()

    def _note_loss(self) -> None:
        # Later, and once: whoever sends is in the middle of something.
        if not self._loss_due:
            self._loss_due = True
            self._loop.call_soon(self._tell_loss)

    def _tell_loss(self) -> None:
        self._loss_due = False
        self._unreachable()


def ignore_item(_kind: int, _body: bytes, _start: int, _end: int) -> None:
    """For a connection on which only this side speaks: a later version may say something."""
