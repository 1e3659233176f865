"""Questions and their answers: one connection for those of one node to another."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from struct import Struct

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport.connection import Connection, OnItem
from moreton.consensus.transport.core.framing import item
from moreton.consensus.transport.core.handshake import Channel
from moreton.consensus.transport.errors import (
    AnswerLost,
    BadFrame,
    QuestionFailed,
    QuestionRefused,
    TooLargeToSend,
)
from moreton.consensus.transport.meeting.dialing import ANYBODY, Place, dial
from moreton.consensus.transport.meeting.identity import Identity
from moreton.consensus.transport.settings import Credentials, TransportSettings
from moreton.kernel.time import Clock, SystemClock

_QUESTION, _ANSWER, _FAILED, _BUSY = 64, 65, 66, 67
_ID = Struct("<Q")
_REASON_BYTES_MAX = 500

# Guests have numbers that no node has: nobody is confused with them.
_GUESTS = 1 << 63

Dial = Callable[[OnItem], Awaitable[Connection]]
Answer = Callable[[NodeId, bytes], Awaitable[bytes]]


class Asker:
    """Asks one node; it connects when first asked, and again after a loss."""

    def __init__(self, target: NodeId, dial: Dial, *, settings: TransportSettings) -> None:
        self._target = target
        self._dial = dial
        self._settings = settings
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._watching: set[asyncio.Task[None]] = set()
        self._number = self._waiting = 0

    async def ask(self, question: bytes) -> bytes:
        """What the node answers. Raises a `ConsensusError`."""
        settings = self._settings
        if len(question) > settings.question_bytes_max:
            raise TooLargeToSend(
                target=self._target,
                what="a question",
                size=len(question),
                limit=settings.question_bytes_max,
            )
        if self._waiting >= settings.questions_max:
            raise QuestionRefused(target=self._target, waiting=self._waiting)
        self._waiting += 1
        try:
            return await self._ask(question)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Hang up; who waits for an answer gets none."""
        tasks = [*self._watching, *((self._connecting,) if self._connecting else ())]
        for task in tasks:
            task.cancel()
        if self._connection is not None:
            self._connection.abort("closing")
        self._lose("this node stops")
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, question: bytes) -> bytes:
        connection = self._connection
        if connection is None or connection.is_closed:
            connection = await self._connected()
        self._number += 1
        number = self._number
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        connection.post(item(_QUESTION, _ID.pack(number) + question))
        seconds = self._settings.answer_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError as error:
            raise AnswerLost(target=self._target, reason=f"not within {seconds:g} s") from error
        finally:
            self._pending.pop(number, None)

    async def _connected(self) -> Connection:
        # Everybody who asks meanwhile waits for the same attempt, and hears of the same failure.
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._attempted)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Connection:
        connection = await self._dial(self._receive)
        self._connection = connection
        task = asyncio.create_task(self._watch(connection))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return connection

    def _attempted(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # those who waited were told, if any still do

    async def _watch(self, connection: Connection) -> None:
        reason = await connection.wait_closed()
        if self._connection is connection:
            self._connection = None
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(AnswerLost(target=self._target, reason=reason))

    def _receive(self, kind: int, body: bytes, start: int, end: int) -> None:
        if end - start < _ID.size or kind not in (_ANSWER, _FAILED, _BUSY):
            raise BadFrame(f"an answer of kind {kind} and {end - start} bytes")
        (number,) = _ID.unpack_from(body, start)
        answer = self._pending.get(number)
        if answer is None or answer.done():
            return  # nobody waits any more
        content = body[start + _ID.size : end]
        if kind == _ANSWER:
            answer.set_result(content)
        elif kind == _BUSY:
            waiting = self._settings.questions_max
            answer.set_exception(QuestionRefused(target=self._target, waiting=waiting))
        else:
            reason = content.decode(errors="replace")
            answer.set_exception(QuestionFailed(target=self._target, reason=reason))


class Desk:
    """Answers the questions of *source* on one connection."""

    def __init__(
        self, source: NodeId, connection: Connection, answer: Answer, *, settings: TransportSettings
    ) -> None:
        self._source = source
        self._connection = connection
        self._answer = answer
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, kind: int, body: bytes, start: int, end: int) -> None:
        """A question."""
        if end - start < _ID.size or kind != _QUESTION:
            raise BadFrame(f"a question of kind {kind} and {end - start} bytes")
        number = body[start : start + _ID.size]
        if len(self._tasks) >= self._settings.questions_max:
            self._connection.post(item(_BUSY, number))
            return
        task = asyncio.create_task(self._respond(number, body[start + _ID.size : end]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Answer nothing more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _respond(self, number: bytes, question: bytes) -> None:
        try:
            content = await self._answer(self._source, question)
            kind = _ANSWER
            if len(content) > self._settings.question_bytes_max:
                kind, content = _FAILED, f"an answer of {len(content)} bytes".encode()
        except ConsensusError as error:
            kind, content = _FAILED, str(error).encode()[:_REASON_BYTES_MAX]
        except Exception as error:
            # The asker must not wait in vain for what was a fault here.
            kind, content = _FAILED, repr(error).encode()[:_REASON_BYTES_MAX]
            self._post(kind, number, content)
            raise
        self._post(kind, number, content)

    def _post(self, kind: int, number: bytes, content: bytes) -> None:
        if not self._connection.is_closed:
            self._connection.post(item(kind, number + content))


async def ask_as_guest(
    address: str,
    credentials: Credentials,
    question: bytes,
    *,
    settings: TransportSettings | None = None,
    clock: Clock | None = None,
    report: Callable[[ConsensusError], None] = lambda _: None,
) -> bytes:
    """What the node at *address* answers to somebody who knows the secret and is no member.

    Which node it is, and of which cluster, need not be known. *report* is told of a clock that is
    far off. Raises a `ConsensusError`, which calls the node 0.
    """
    bounds = settings or TransportSettings()
    identity = Identity(
        _GUESTS | secrets.randbits(62),
        credentials,
        settings=bounds,
        clock=clock or SystemClock(),
        report=lambda _, trouble: report(trouble),
    )
    reach = partial(dial, identity, Place(ANYBODY, address), Channel.GUEST)
    asker = Asker(ANYBODY, reach, settings=bounds)
    try:
        return await asker.ask(question)
    finally:
        await asker.close()
