"""Watches of instances, served without a framework: they last for days, and are thousands."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from moreton.controlplane.api.notices import Notices

_PATH = "/v1/watch"
# A service's name as RFC 1123 has it; of any other *app* says what is wrong.
_QUERY = re.compile(rb"prefix=instances(?:/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?))?")
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
]


class Watches:
    """An ASGI layer that serves `GET /v1/watch?prefix=instances[/SERVICE]` without a framework.

    What a framework keeps for a request it keeps here for days, and for thousands. Whatever is
    asked in any other form, *app* answers.
    """

    def __init__(
        self, app: ASGIApp, notices: Notices, *, cut_off: Callable[[], bool] = lambda: False
    ) -> None:
        self._app = app
        self._cut_off = cut_off
        self._notices = notices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a watch, or pass on what is none."""
        asked = None
        if scope["type"] == "http" and scope["path"] == _PATH and scope["method"] == "GET":
            asked = _QUERY.fullmatch(scope["query_string"])
        if asked is None:
            await self._app(scope, receive, send)
            return
        service = None if asked[1] is None else asked[1].decode()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async for words in self._notices.stream(service, until=gone, cut_off=self._cut_off):
                await send({"type": "http.response.body", "body": words, "more_body": True})
                del words  # the list of a large service is not to stay until the next change
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
