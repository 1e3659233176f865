"""Middleware for Django, for threads and for tasks; the first of all.

MIDDLEWARE = ["moreton.strangler.agent.servers.django.EffectsMiddleware", …]
MORETON_AGENT = {"release": "2026-11-27"}  # as `Agent` takes it; may be left out
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest

from moreton.strangler.agent.agent import Agent
from moreton.strangler.agent.core.standing import EFFECTS_HEADER
from moreton.strangler.agent.recording import Recording, begin, end, into
from moreton.strangler.agent.watching import django


class EffectsMiddleware:
    """Sees what each request does, and tells who asks for it."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._agent = Agent(**getattr(settings, "MORETON_AGENT", {}))
        django.install()
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Serve one request."""
        if iscoroutinefunction(self._get_response):
            return self._serve_async(request, self._get_response)
        recording = self._recording(request)
        token = begin(recording)
        try:
            response = self._get_response(request)
        finally:
            end(token)
        return self._settled(request, response, recording)

    async def _serve_async(
        self, request: HttpRequest, get_response: Callable[[HttpRequest], Awaitable[Any]]
    ) -> Any:
        recording = self._recording(request)
        token = begin(recording)
        try:
            response = await get_response(request)
        finally:
            end(token)
        return self._settled(request, response, recording)

    def _recording(self, request: HttpRequest) -> Recording:
        return self._agent.recording(request.headers.get(EFFECTS_HEADER))

    def _settled(self, request: HttpRequest, response: Any, recording: Recording) -> Any:
        told = self._agent.settle(endpoint_of(request), recording)
        if EFFECTS_HEADER in request.headers:
            response[EFFECTS_HEADER] = self._agent.field(told)
        return _followed(response, recording)


def endpoint_of(request: HttpRequest) -> str:
    """The method and the route, as the URL configuration has it; empty if there is none."""
    match = request.resolver_match
    return f"{request.method} /{match.route.lstrip('/')}" if match is not None else ""


def _followed(response: Any, recording: Recording) -> Any:
    """What is done while *response* is sent, and once it was, is the request's as well."""
    if getattr(response, "streaming", False):
        parts = response.streaming_content
        response.streaming_content = (
            _streamed_async(parts, recording) if response.is_async else _streamed(parts, recording)
        )
    close = response.close

    def closed() -> None:
        with into(recording):
            close()

    response.close = closed
    return response


def _streamed(parts: Iterable[bytes], recording: Recording) -> Iterator[bytes]:
    iterator = iter(parts)
    while True:
        with into(recording):
            part = next(iterator, None)
        if part is None:
            return
        yield part


async def _streamed_async(
    parts: AsyncIterable[bytes], recording: Recording
) -> AsyncIterator[bytes]:
    iterator = aiter(parts)
    while True:
        with into(recording):
            part = await anext(iterator, None)
        if part is None:
            return
        yield part
