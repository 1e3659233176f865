"""A middleware for aiohttp's client, 3.12 or later.

session = aiohttp.ClientSession(middlewares=(ResilientMiddleware(policy),))
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, payload

from moreton.resilience.clients.exchange import (
    FAILURES,
    AnswerFailed,
    Destinations,
    Policies,
    add_fields,
    give_up,
    may_repeat,
    repeatable,
)


class ResilientMiddleware:
    """Sends requests under the policy of their destination.

    A request is sent again if its method is idempotent or it has an Idempotency-Key, or when the
    middleware was made with *idempotent*; else only after errors that prove that nothing was sent;
    never once a body that cannot be read again was touched. Answers with a status in *failures*
    count as failures; the last one is returned.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        idempotent: bool = False,
        failures: Iterable[int] = FAILURES,
    ) -> None:
        self._destinations = Destinations(policies, failures)
        self._idempotent = idempotent

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send *request*; raises what aiohttp raises, and `Refused` of a layer."""
        url = request.url
        policy = self._destinations[f"{url.scheme}://{url.host}:{url.port}"]
        last: ClientResponse | None = None

        async def send() -> ClientResponse:
            nonlocal last
            if last is not None:
                last.release()
                last = None
            add_fields(request.headers)
            try:
                last = answer = await handler(request)
                self._destinations.check(answer, answer.status, answer.headers)
            except Exception as error:
                if not _replayable(request):
                    give_up(error)
                raise
            return answer

        may = may_repeat(request.method, request.headers, said=self._idempotent)
        with repeatable(may=may):
            try:
                return await policy.call(send)
            except AnswerFailed as failed:
                response: ClientResponse = failed.response
                return response
            except BaseException:
                if last is not None:
                    last.release()
                raise


def _replayable(request: ClientRequest) -> bool:
    """Whether the body can be sent again: bytes and strings can, files and generators cannot."""
    return isinstance(request.body, bytes | payload.BytesPayload | payload.StringPayload)
