"""Middleware for Django, for threads and for tasks.

MIDDLEWARE = ["moreton.ratelimit.servers.django.RateLimitMiddleware", …]
MORETON_RATE_LIMITS = [Rule(SharedLimiter("/dev/shm/shop", Gcra("100/s")))]
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from moreton.ratelimit.rules import Caller, Refusal
from moreton.ratelimit.servers.dropping import drop_wsgi
from moreton.ratelimit.servers.guard import Guard, Passage

_FAILED = 500


class RateLimitMiddleware:
    """Lets requests pass the rules of the setting `MORETON_RATE_LIMITS`."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._guard = Guard(getattr(settings, "MORETON_RATE_LIMITS", ()))
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Serve one request."""
        if iscoroutinefunction(self._get_response):
            return self._serve_async(request, self._get_response)
        passage = self._guard.enter(_caller(request))
        if passage.refusal is not None:
            if passage.refusal.drop:
                drop_wsgi(request.META)
            return _refused(passage.refusal)
        try:
            response = self._get_response(request)
        except BaseException:
            self._guard.leave(passage, _FAILED)
            raise
        if response.streaming:
            self._leave_at_end(passage, response)
        else:
            self._guard.leave(passage, response.status_code, response.headers.get)
        return _told(response, passage)

    async def _serve_async(
        self, request: HttpRequest, get_response: Callable[[HttpRequest], Awaitable[Any]]
    ) -> Any:
        passage = await self._guard.enter_async(_caller(request))
        if passage.refusal is not None:
            refused = _refused(passage.refusal)
            if passage.refusal.drop:
                # On a loop Django hands on no way to the connection; a WSGI server forbids this.
                refused["Connection"] = "close"
            return refused
        try:
            response = await get_response(request)
        except BaseException:
            await self._guard.leave_async(passage, _FAILED)
            raise
        if response.streaming:
            self._leave_at_end(passage, response)
        else:
            await self._guard.leave_async(passage, response.status_code, response.headers.get)
        return _told(response, passage)

    def _leave_at_end(self, passage: Passage, response: Any) -> None:
        """The work goes on: Django closes *response* when it was sent, or its client has left."""
        closing = response.close
        ends = [lambda: self._guard.leave(passage, response.status_code, response.headers.get)]

        def close() -> None:
            try:
                closing()
            finally:
                while ends:
                    ends.pop()()

        response.close = close


def _caller(request: HttpRequest) -> Caller:
    headers = {name.lower(): value for name, value in request.headers.items()}
    address = request.META.get("REMOTE_ADDR", "")  # a Unix socket on a loop has none
    return Caller(request.method or "GET", request.path, headers, address)


def _refused(refusal: Refusal) -> HttpResponse:
    response = HttpResponse(refusal.body, status=refusal.status)
    for name, value in refusal.fields:
        response[name] = value
    return response


def _told(response: Any, passage: Passage) -> Any:
    for name, value in passage.fields:
        response[name] = value
    return response
