"""Every HTTP client that discovery plugs into, behind one function each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import requests

from moreton.registry.discovery import AsyncDiscovery, Discovery
from moreton.registry.discovery.clients import aiohttp as for_aiohttp
from moreton.registry.discovery.clients import httpx as for_httpx
from moreton.registry.discovery.clients import httpx2 as for_httpx2
from moreton.registry.discovery.clients import requests as for_requests

# Settings of discovery, then method, URL and header fields of each request, made in turn.
Settings = dict[str, Any]
Answered = tuple[int, bytes]
Ask = Callable[..., list[Answered]]


def _httpx(library: Any, module: Any) -> Ask:
    def ask(place: Settings, *urls: str, method: str = "GET", **settings: Any) -> list[Answered]:
        with (
            Discovery(**place) as discovery,
            library.Client(transport=module.DiscoveryTransport(discovery, **settings)) as client,
        ):
            answers = [client.request(method, url) for url in urls]
            assert all(str(one.url) == url for one, url in zip(answers, urls, strict=True))
            return [(one.status_code, one.content) for one in answers]

    return ask


def _httpx_async(library: Any, module: Any) -> Ask:
    async def asking(
        place: Settings, urls: tuple[str, ...], method: str, settings: Settings
    ) -> list[Answered]:
        async with AsyncDiscovery(**place) as discovery:
            transport = module.AsyncDiscoveryTransport(discovery, **settings)
            async with library.AsyncClient(transport=transport) as client:
                answers = [await client.request(method, url) for url in urls]
                return [(one.status_code, one.content) for one in answers]

    def ask(place: Settings, *urls: str, method: str = "GET", **settings: Any) -> list[Answered]:
        return asyncio.run(asking(place, urls, method, settings))

    return ask


def _requests(place: Settings, *urls: str, method: str = "GET", **settings: Any) -> list[Answered]:
    with Discovery(**place) as discovery, requests.Session() as session:
        session.mount("http://", for_requests.DiscoveryAdapter(discovery, **settings))
        answers = [session.request(method, url) for url in urls]
        assert all(one.url == url for one, url in zip(answers, urls, strict=True))
        return [(one.status_code, one.content) for one in answers]


def _aiohttp(place: Settings, *urls: str, method: str = "GET", **settings: Any) -> list[Answered]:
    async def asking() -> list[Answered]:
        found = []
        async with AsyncDiscovery(**place) as discovery:
            middleware = for_aiohttp.DiscoveryMiddleware(discovery, **settings)
            async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
                for url in urls:
                    async with session.request(method, url) as answer:
                        assert str(answer.url) == url
                        found.append((answer.status, await answer.read()))
        return found

    return asyncio.run(asking())


CLIENTS: dict[str, Ask] = {
    "httpx": _httpx(httpx, for_httpx),
    "httpx-async": _httpx_async(httpx, for_httpx),
    "httpx2": _httpx(httpx2, for_httpx2),
    "httpx2-async": _httpx_async(httpx2, for_httpx2),
    "requests": _requests,
    "aiohttp": _aiohttp,
}
# What each library calls trouble of the connection.
ERRORS: dict[str, type[Exception]] = {
    "httpx": httpx.ConnectError,
    "httpx-async": httpx.ConnectError,
    "httpx2": httpx2.ConnectError,
    "httpx2-async": httpx2.ConnectError,
    "requests": requests.ConnectionError,
    "aiohttp": aiohttp.ClientConnectionError,
}
