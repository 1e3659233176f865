"""The pages of the service over HTTP: metrics, health, and decisions in JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf import json_format

from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.rls.messages import NotUnderstood, read, write
from moreton.ratelimit.rls.running.exposition import exposition
from moreton.ratelimit.rls.running.files import Followed
from moreton.ratelimit.rls.service import RateLimitService

_BODY_BYTES_MAX = 64 * 1024
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_JSON = "application/json"
_OVER = 2
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Pages:
    """An ASGI application: `/metrics`, `/healthcheck`, and `/json` as envoyproxy/ratelimit has."""

    def __init__(self, service: RateLimitService, followed: Followed) -> None:
        self._service = service
        self._followed = followed

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if path == "/json" and method == "POST":
            status, kind, body = await self._decide(receive)
        elif method not in {"GET", "HEAD"}:
            status, kind, body = 405, _TEXT, b"only GET, and POST of /json\n"
        elif path == "/metrics":
            followed = self._followed
            text = exposition(
                self._service.counts, reloads=followed.loaded, refused_reloads=followed.refused
            )
            status, kind, body = 200, _TEXT, text.encode()
        elif path == "/healthcheck":
            status, kind, body = 200, _TEXT, b"OK"
        else:
            status, kind, body = 404, _TEXT, b"there are /metrics, /healthcheck and /json\n"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _decide(self, receive: Receive) -> tuple[int, str, bytes]:
        body = b""
        more = True
        while more:
            part = await receive()
            body += part.get("body", b"")
            more = part.get("more_body", False)
            if len(body) > _BODY_BYTES_MAX:
                return 413, _TEXT, b"the request is too large\n"
        try:
            request = json_format.Parse(body, rls_pb2.RateLimitRequest())
            answer = write(await self._service.decide(*read(request)))
        except (json_format.ParseError, UnicodeDecodeError, NotUnderstood) as error:
            return 400, _TEXT, f"{error}\n".encode()
        except LimitStoreUnavailable as error:
            return 503, _TEXT, f"{error}\n".encode()
        message = rls_pb2.RateLimitResponse.FromString(answer)
        status = 429 if message.overall_code == _OVER else 200
        return status, _JSON, json_format.MessageToJson(message).encode()
