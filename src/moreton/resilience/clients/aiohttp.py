"""A middleware for aiohttp's client, 3.12 or later.

session = aiohttp.ClientSession(middlewares=(ResilientMiddleware(policy),))
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import cast

from aiohttp import (
    ClientConnectionError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ServerTimeoutError,
    StreamReader,
)
from aiohttp.base_protocol import BaseProtocol

from moreton.resilience.clients.answers import (
    FAILURES,
    PROBLEM_BYTES_MAX,
    RETRY_ON,
    AnswerFailed,
    Answers,
    Verdicts,
    problem_of,
    tells_in_body,
)
from moreton.resilience.clients.exchange import (
    Destinations,
    Policies,
    add_fields,
    check_time,
    give_up,
    is_time_over,
    late,
    may_repeat,
    repeatable,
    seconds_left,
)
from moreton.resilience.clients.foreign import foreign


class ResilientMiddleware:
    """Sends requests under the policy of their destination.

    A request is sent again if its method is idempotent or it has an Idempotency-Key, within
    `context.idempotent()`, or when the middleware was made with *idempotent*; else only after
    errors that prove that nothing was sent; never once a body that cannot be read again was
    touched. Answers with a status in *retry_on* are tried again, those in *failures* count as
    failures for breakers; the last one is returned. What a layer raises is an error of aiohttp,
    too.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        idempotent: bool = False,
        retry_on: Iterable[int] = RETRY_ON,
        failures: Iterable[int] = FAILURES,
    ) -> None:
        self._destinations = Destinations(policies)
        self._verdicts = Verdicts(retry_on, failures)
        self._idempotent = idempotent

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send *request*; raises what aiohttp raises, and `Refused` of a layer."""
        url = request.url
        policy = self._destinations[f"{url.scheme}://{url.host}:{url.port}"]
        answers = Answers(ClientResponse.release)

        async def send() -> ClientResponse:
            await answers.close_earlier_async()
            async with self._attempt(request):
                answer = await handler(request)
                answers.keep(answer)
                if answer.status in self._verdicts.statuses:
                    raise await self._failure(answer)
            return answer

        may = may_repeat(request.method, request.headers, said=self._idempotent)
        with repeatable(may=may), foreign(ClientConnectionError, ServerTimeoutError):
            return cast("ClientResponse", await answers.hand_on_async(policy, send))

    @contextlib.asynccontextmanager
    async def _attempt(self, request: ClientRequest) -> AsyncIterator[None]:
        """Around one attempt."""
        check_time()
        # Of an attempt before: its writer must not touch the body any more.
        await request.close()
        add_fields(request.headers)
        try:
            with repeatable(may=False):
                async with asyncio.timeout(seconds_left()):
                    yield
        except Exception as error:
            given_up = late() if isinstance(error, TimeoutError) and is_time_over() else error
            if not _replayable(request):
                give_up(given_up)
            if given_up is error:
                raise
            raise given_up from error

    async def _failure(self, answer: ClientResponse) -> AnswerFailed:
        problem = None
        if tells_in_body(answer.headers):
            body = await answer.read()
            problem = problem_of(body)
            loop = asyncio.get_running_loop()
            # For who streams: the body once more.
            answer.content = StreamReader(BaseProtocol(loop), PROBLEM_BYTES_MAX, loop=loop)
            answer.content.feed_data(body)
            answer.content.feed_eof()
        return self._verdicts.failure(answer, answer.status, answer.headers, problem)


def _replayable(request: ClientRequest) -> bool:
    """Whether the body can be sent again: aiohttp winds files back and notes what is consumed."""
    return isinstance(request.body, bytes) or not request.body.consumed
