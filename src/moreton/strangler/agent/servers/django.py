"""Middleware for Django, for threads and for tasks; the first of all.

MIDDLEWARE = ["moreton.strangler.agent.servers.django.EffectsMiddleware", …]
MORETON_AGENT = {"release": "2026-11-27"}  # as `Agent` takes it; may be left out
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponseBadRequest

from moreton.strangler.agent.agent import Agent
from moreton.strangler.agent.core.standing import DRY_RUN_HEADER, EFFECTS_HEADER, read_target
from moreton.strangler.agent.drying import UNKNOWN_TARGET, dry, joined, take_back
from moreton.strangler.agent.recording import Recording, begin, end, into
from moreton.strangler.agent.servers.asgi import scope_of
from moreton.strangler.agent.servers.wsgi import environ_of
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
        asked = request.headers.get(EFFECTS_HEADER)
        dry_run = self._agent.dry_run(str(request.method), request.path_info, asked)
        if iscoroutinefunction(self._get_response):
            if dry_run is not None:
                return self._run_dry_async(request, dry_run)
            return self._serve_async(request, self._get_response)
        if dry_run is not None:
            return self._run_dry(request, dry_run)
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

    def _run_dry(self, request: HttpRequest, recording: Recording) -> Any:
        inner = asked_for(request)
        if inner is None:
            return HttpResponseBadRequest(UNKNOWN_TARGET)
        with dry(recording):
            with into(None):
                django.take_back(recording)
            response = self._get_response(inner)
            django.run_committed()
            if getattr(response, "streaming", False):
                response.streaming_content = iter([joined(iter(response))])
        return self._told_dry(inner, response, recording)

    async def _run_dry_async(self, request: HttpRequest, recording: Recording) -> Any:
        inner = asked_for(request)
        if inner is None:
            return HttpResponseBadRequest(UNKNOWN_TARGET)
        try:
            # Connections belong to the thread that serves the synchronous parts of this request.
            with into(None):
                await sync_to_async(django.take_back)(recording)
            with into(recording):
                response = await self._get_response(inner)
                await sync_to_async(django.run_committed)()
                if getattr(response, "streaming", False):
                    parts = [part async for part in response]
                    response.streaming_content = _again(parts)
        finally:
            await sync_to_async(take_back)(recording)
        return self._told_dry(inner, response, recording)

    def _told_dry(self, request: HttpRequest, response: Any, recording: Recording) -> Any:
        response[EFFECTS_HEADER] = self._agent.field(
            self._agent.ran_dry(endpoint_of(request), recording)
        )
        return response

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


def asked_for(request: Any) -> Any:
    """The request that *request* wants to be run dry; none if it does not say which."""
    target = read_target(request.headers.get(DRY_RUN_HEADER, ""))
    if target is None:
        return None
    if hasattr(request, "environ"):
        return type(request)(environ_of(request.environ, *target))
    return type(request)(scope_of(request.scope, *target), request._stream)  # noqa: SLF001 - its body has no other name


async def _again(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


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
