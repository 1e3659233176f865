"""Middleware for Django, for threads and for tasks.

MIDDLEWARE = ["moreton.transactions.idempotency.servers.django.IdempotencyMiddleware", …]
MORETON_IDEMPOTENCY = KeyPolicy(keep_at("sqlite:///keys.db"))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from moreton.transactions.idempotency.core.problems import Answer
from moreton.transactions.idempotency.policy import Request
from moreton.transactions.idempotency.servers.call import PLACE
from moreton.transactions.idempotency.servers.guard import Guard, Handling

__all__ = ["IdempotencyMiddleware"]


class IdempotencyMiddleware:
    """Requests with an `Idempotency-Key` are handled once, by the setting `MORETON_IDEMPOTENCY`.

    Put it above what opens transactions: what it keeps is not part of the view's transaction.
    A streaming answer is not kept; what repeats its request learns so.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._guard = Guard(getattr(settings, "MORETON_IDEMPOTENCY", None))  # type: ignore[arg-type]
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Serve one request."""
        if iscoroutinefunction(self._get_response):
            return self._serve_async(request, self._get_response)
        entered = self._enter(request)
        if isinstance(entered, Answer):
            return _given(entered)
        if entered is None:
            return self._get_response(request)
        try:
            response = self._get_response(request)
        except Exception:
            self._guard.fail(entered)
            raise
        self._leave(entered, response)
        return response

    async def _serve_async(
        self, request: HttpRequest, get_response: Callable[[HttpRequest], Awaitable[Any]]
    ) -> Any:
        entered = await sync_to_async(self._enter, thread_sensitive=False)(request)
        if isinstance(entered, Answer):
            return _given(entered)
        if entered is None:
            return await get_response(request)
        try:
            response = await get_response(request)
        except Exception:
            await sync_to_async(self._guard.fail, thread_sensitive=False)(entered)
            raise
        await sync_to_async(self._leave, thread_sensitive=False)(entered, response)
        return response

    def _enter(self, request: HttpRequest) -> Handling | Answer | None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Request(request.method or "GET", request.get_full_path(), headers)
        slot = self._guard.slot(seen)
        if slot is None or isinstance(slot, Answer):
            return slot
        # Django itself refuses what is above DATA_UPLOAD_MAX_MEMORY_SIZE.
        body = request.body
        if len(body) > self._guard.policy.request_bytes_max:
            return self._guard.too_large()
        length = request.META.get("CONTENT_LENGTH") or ""
        if length.isdecimal() and len(body) < int(length):
            return self._guard.incomplete()
        entered = self._guard.enter(slot, seen, body)
        if isinstance(entered, Handling):
            request.META[PLACE] = slot
        return entered

    def _leave(self, handling: Handling, response: Any) -> None:
        body = None if response.streaming else response.content
        if body is not None and len(body) > self._guard.policy.answer_bytes_max:
            body = None
        self._guard.leave(handling, response.status_code, list(response.items()), body)


def _given(answer: Answer) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status)
    for name, value in answer.fields:
        response[name] = value
    return response
