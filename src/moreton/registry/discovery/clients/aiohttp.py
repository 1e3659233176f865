"""A middleware for aiohttp's client, 3.12 or later, that finds services.

session = aiohttp.ClientSession(middlewares=(DiscoveryMiddleware(discovery),))
session.get("http://orders.moreton/orders/7")
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable

from aiohttp import (
    ClientConnectionError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    StreamReader,
)
from aiohttp.base_protocol import BaseProtocol

from moreton.kernel.arguments import check_kind
from moreton.registry.core.instance import Instance
from moreton.registry.discovery.choices import one_request
from moreton.registry.discovery.client import AsyncDiscovery
from moreton.registry.discovery.clients.targets import (
    SMALL_BYTES_MAX,
    careful,
    is_small,
    service_of,
)
from moreton.registry.discovery.core.members import Outcome
from moreton.registry.discovery.errors import NoInstance, ServiceUnknown
from moreton.resilience.clients.aiohttp import ResilientMiddleware
from moreton.resilience.clients.answers import FAILURES, RETRY_ON
from moreton.resilience.clients.exchange import Policies
from moreton.resilience.clients.foreign import as_foreign

__all__ = ["DiscoveryMiddleware"]


class DiscoveryMiddleware(ResilientMiddleware):
    """`http://orders.moreton/` goes to an instance of orders; every other URL where it says.

    Each request is made under the policy of its destination, which is the service and not the
    instance: *policies* as for `ResilientMiddleware`, by default some attempts within a budget.
    Each attempt goes to an instance that the request was not sent to yet, if there is one. The
    instance is sent `Host: orders.moreton`, and over https it has to show a certificate for that
    name. A service without an instance is a `ClientConnectionError`, too.
    """

    def __init__(
        self,
        discovery: AsyncDiscovery,
        policies: Policies | None = None,
        *,
        idempotent: bool = False,
        retry_on: Iterable[int] = RETRY_ON,
        failures: Iterable[int] = FAILURES,
    ) -> None:
        check_kind("discovery", discovery, AsyncDiscovery)
        super().__init__(
            policies or careful(discovery),
            idempotent=idempotent,
            retry_on=retry_on,
            failures=failures,
        )
        self._discovery = discovery

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send *request*; raises what aiohttp raises, and `Refused` of a layer."""
        service = service_of(request.url.host)
        if service is None:
            return await super().__call__(request, handler)
        finished: list[ClientRequest] = []

        async def to_an_instance(request: ClientRequest) -> ClientResponse:
            while finished:
                # Its writer must not touch the body any more, which the two share.
                await finished.pop().close()
            try:
                choice = await self._discovery.choose(service)
            except (NoInstance, ServiceUnknown) as error:
                raise as_foreign(error, ClientConnectionError) from error
            directed = _directed(request, choice.instance)
            try:
                answer = await handler(directed)
                if is_small(answer.headers):
                    await _read(answer)
            except BaseException as error:
                choice.failed(error)
                raise
            finally:
                finished.append(directed)
            answer.content.on_eof(lambda: choice.ended(Outcome.ANSWERED))
            return answer

        with one_request():
            return await super().__call__(request, to_an_instance)


async def _read(answer: ClientResponse) -> None:
    """Read the body; who streams gets it once more."""
    body = await answer.read()
    loop = asyncio.get_running_loop()
    answer.content = StreamReader(BaseProtocol(loop), SMALL_BYTES_MAX, loop=loop)
    answer.content.feed_data(body)
    answer.content.feed_eof()


def _directed(request: ClientRequest, instance: Instance) -> ClientRequest:
    """*request* for *instance*; a copy, as attempts of a hedge are under way at the same time."""
    directed = copy.copy(request)
    if request.url.scheme == "https" and directed.server_hostname is None:
        directed.server_hostname = request.url.host
    directed.url = request.url.with_host(instance.address).with_port(instance.port)
    # A proxy of the environment could not know the instance.
    directed.proxy = None
    return directed
