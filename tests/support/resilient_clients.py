"""Every HTTP client that resilience plugs into, behind one function each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import httpx
import httpx2
import requests

from moreton.resilience import Policy
from moreton.resilience.clients import aiohttp as for_aiohttp
from moreton.resilience.clients import httpx as for_httpx
from moreton.resilience.clients import httpx2 as for_httpx2
from moreton.resilience.clients import requests as for_requests

Body = bytes | list[bytes] | None  # a list is given as a generator, which can be read once
Answered = tuple[int, bytes]


def _parts(body: Body) -> Any:
    if not isinstance(body, list):
        return body

    def once() -> Iterator[bytes]:
        yield from body

    return once()


def _async_parts(body: Body) -> Any:
    if not isinstance(body, list):
        return body

    async def once() -> AsyncIterator[bytes]:
        for part in body:
            yield part

    return once()


def _httpx(library: Any, module: Any) -> Callable[..., Answered]:
    def ask(policy: Policy, method: str, url: str, body: Body = None, **headers: str) -> Answered:
        transport = module.ResilientTransport(policy)
        with library.Client(transport=transport) as client:
            answer = client.request(method, url, content=_parts(body), headers=headers)
            return answer.status_code, answer.content

    return ask


def _httpx_async(library: Any, module: Any) -> Callable[..., Answered]:
    async def asking(
        policy: Policy, method: str, url: str, body: Body, headers: dict[str, str]
    ) -> Answered:
        transport = module.AsyncResilientTransport(policy)
        async with library.AsyncClient(transport=transport) as client:
            answer = await client.request(method, url, content=_async_parts(body), headers=headers)
            return answer.status_code, answer.content

    def ask(policy: Policy, method: str, url: str, body: Body = None, **headers: str) -> Answered:
        return asyncio.run(asking(policy, method, url, body, headers))

    return ask


def _requests(policy: Policy, method: str, url: str, body: Body = None, **headers: str) -> Answered:
    with requests.Session() as session:
        session.mount("http://", for_requests.ResilientAdapter(policy))
        answer = session.request(method, url, data=_parts(body), headers=headers)
        return answer.status_code, answer.content


def _aiohttp(policy: Policy, method: str, url: str, body: Body = None, **headers: str) -> Answered:
    async def asking() -> Answered:
        middleware = for_aiohttp.ResilientMiddleware(policy)
        async with (
            aiohttp.ClientSession(middlewares=(middleware,)) as session,
            session.request(method, url, data=_async_parts(body), headers=headers) as answer,
        ):
            return answer.status, await answer.read()

    return asyncio.run(asking())


CLIENTS: dict[str, Callable[..., Answered]] = {
    "httpx": _httpx(httpx, for_httpx),
    "httpx-async": _httpx_async(httpx, for_httpx),
    "httpx2": _httpx(httpx2, for_httpx2),
    "httpx2-async": _httpx_async(httpx2, for_httpx2),
    "requests": _requests,
    "aiohttp": _aiohttp,
}

# What their users see when an exchange breaks.
BREAKS = (
    httpx.TransportError,
    httpx2.TransportError,
    requests.RequestException,
    aiohttp.ClientError,
    OSError,
)
