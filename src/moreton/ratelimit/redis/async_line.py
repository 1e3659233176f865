"""One connection for all tasks of a loop: questions go out as they come, answers come in order.

redis-py makes it, with all that a URL can say. Then its transport is read here, as what lies above
would take one task at a time, and longer than the server does. That redis-py has a transport to
hand on nobody promises: where it does not, its own client is taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

PENDING_MAX = 10_000
_NO_SCRIPT = "NOSCRIPT"


class NoTransport(RedisConnectionError):
    """This version of redis-py keeps what it made to itself."""


class AsyncLine:
    """Asks for the tasks of one loop; a question that is not answered within *step* seconds fails.

    Then the connection is ended, and with it all questions that are under way.
    """

    def __init__(self, pool: Any, step: float) -> None:
        """*pool* is a `redis.asyncio.ConnectionPool`; only what makes its connections is used."""
        self._pool = pool
        self._step = step
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None

    async def ask(self, command: bytes) -> Any:
        """The answer to *command*; raises what redis-py raises, and `NoTransport`."""
        wire = self._wire
        if wire is None or wire.has_ended:
            wire = await self._connected()
        answer = await wire.ask(command)
        if isinstance(answer, hiredis.ReplyError):
            text = str(answer)
            if text.startswith(_NO_SCRIPT):
                raise NoScriptError(text)
            raise ResponseError(text.removeprefix("ERR "))
        return answer

    async def aclose(self) -> None:
        """End the connection, also one that is being made."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.end(RedisConnectionError("the limiter was closed"))
            await asyncio.sleep(0)  # the transport ends with the next turn of the loop

    async def _connected(self) -> _Wire:
        """All who ask meanwhile wait for one attempt."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._end_connecting)
        # One who is cancelled leaves it to the others.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> _Wire:
        connection = self._pool.make_connection()
        await connection.connect()
        writer = getattr(connection, "_writer", None)
        if not isinstance(writer, asyncio.StreamWriter):
            await connection.disconnect()
            raise NoTransport("this version of redis-py hands on no transport")
        # It would end it as soon as nobody holds it any more.
        connection._reader = connection._writer = None  # noqa: SLF001
        self._wire = _Wire(writer, self._step)
        return self._wire

    def _end_connecting(self, task: asyncio.Task[_Wire]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may


class _Wire(asyncio.Protocol):
    def __init__(self, writer: asyncio.StreamWriter, step: float) -> None:
        self.has_ended = False
        self._writer = writer  # which ends its transport, too, with itself
        self._transport = writer.transport
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        # In the order of their questions: who waits, and until when.
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._transport.set_protocol(self)

    def ask(self, command: bytes) -> asyncio.Future[Any]:
        if len(self._waiting) >= PENDING_MAX:
            raise RedisTimeoutError(f"{PENDING_MAX} questions to the server wait already")
        future: asyncio.Future[Any] = self._loop.create_future()
        until = self._loop.time() + self._step
        self._waiting.append((future, until))
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._look)
        self._transport.write(command)
        return future

    def end(self, error: Exception) -> None:
        """Fail all that waits; nothing more is asked here."""
        self.has_ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while self._waiting:
            try:
                answer = self._reader.gets()
            except hiredis.ProtocolError as error:
                self.end(RedisConnectionError(f"what answers is no Redis: {error}"))
                return
            if answer is False:
                return
            if isinstance(answer, hiredis.PushNotification):
                continue  # said unasked
            future, _ = self._waiting.popleft()
            if not future.done():  # else whoever asked has left
                future.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.end(RedisConnectionError(f"the server closed the connection: {error or 'its end'}"))

    def _look(self) -> None:
        """End it if the one that waits longest waits too long."""
        self._timer = None
        if not self._waiting:
            return
        _, until = self._waiting[0]
        if until <= self._loop.time():
            self.end(RedisTimeoutError(f"no answer within {self._step:g} s"))
        else:
            self._timer = self._loop.call_at(until, self._look)
