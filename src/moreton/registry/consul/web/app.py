"""The API as one ASGI application: which request goes where, and errors as Consul tells them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from moreton.kernel.errors import MoretonError
from moreton.registry.consul.core.queries import parse_parameters
from moreton.registry.consul.core.refusals import ConsulRequestRefused
from moreton.registry.consul.messages import (
    JSON,
    Answer,
    Handler,
    Receive,
    Request,
    Scope,
    Send,
    text_answer,
)
from moreton.registry.consul.web.access import Access
from moreton.registry.consul.web.reading import Look
from moreton.registry.errors import InstanceNotRegistered, InstanceNotValid
from moreton.store.errors import RequestTooLarge

_LOG = logging.getLogger("moreton.consul")
_PATH_CHARS_MAX = 4096
_PRETTY_SPACES = 4


class Endpoint(NamedTuple):
    """What a path takes: a handler for each method; *has_rest*: the path goes on.

    *look* tells what a GET looks at, if that is all that its handler does.
    """

    handlers: Mapping[str, Handler]
    has_rest: bool = False
    look: Callable[[Request], Look] | None = None


class ConsulApp:
    """Answers every request; what is not an endpoint is 404, as with Consul a sentence."""

    def __init__(self, endpoints: Mapping[str, Endpoint], access: Access) -> None:
        self._endpoints = endpoints
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            return
        request = Request(
            method=scope["method"],
            path=scope["path"],
            rest="",
            parameters=parse_parameters(b""),
            headers=scope["headers"],
            receive=receive,
        )
        answer = await self._answered(request, scope["query_string"])
        if not request.has_left:
            await _send(answer, send, with_body=request.method != "HEAD")

    def look(self, request: Request) -> Look | None:
        """What a GET looks at, if it is let in and nothing else is to be done.

        Raises `ConsulRequestRefused`.
        """
        self._access.check(request)
        endpoint = self._endpoint(request)
        return None if endpoint is None or endpoint.look is None else endpoint.look(request)

    async def _answered(self, request: Request, query: bytes) -> Answer:
        try:
            request.parameters = parse_parameters(query)
            self._access.check(request)
            answer = await self._find(request)(request)
        except ConsulRequestRefused as error:
            return text_answer(error.status, str(error))
        except MoretonError as error:
            return text_answer(_status_of(error), str(error))
        except TimeoutError:
            return text_answer(500, "this node does not keep up with the store: try again")
        except Exception as error:  # noqa: BLE001 - a fault of ours is no reason to hang up
            _LOG.exception("%s %s failed", request.method, request.path)
            text = f"moreton itself failed, {type(error).__name__}: see its log"
            return text_answer(500, text)
        if "pretty" in request.parameters and answer.headers[:1] == JSON[:1]:
            return _pretty(answer)
        return answer

    def _find(self, request: Request) -> Handler:
        endpoint = self._endpoint(request)
        if endpoint is None:
            raise ConsulRequestRefused(404, f"there is no endpoint {request.path[:200]}")
        method = "GET" if request.method == "HEAD" else request.method
        handler = endpoint.handlers.get(method)
        if handler is None:
            allowed = ", ".join(sorted(endpoint.handlers))
            raise ConsulRequestRefused(405, f"method {method} not allowed; use {allowed}")
        return handler

    def _endpoint(self, request: Request) -> Endpoint | None:
        """The endpoint with the longest path that begins the request's; sets `rest`."""
        path = request.path
        if len(path) > _PATH_CHARS_MAX:
            raise ConsulRequestRefused(414, f"the path has {len(path)} characters")
        known = self._endpoints.get(path)
        if known is not None and not known.has_rest:
            return known
        end = len(path)
        # Of the endpoints none has more than six parts; a key may have any number.
        for end in _cuts(path):
            known = self._endpoints.get(path[:end])
            if known is not None and known.has_rest:
                request.rest = path[end:]
                return known
        return None


def _cuts(path: str) -> list[int]:
    """Where a path may be cut, behind a slash, the longest of the first parts first."""
    cuts: list[int] = []
    position = path.find("/", 1)
    while position >= 0 and len(cuts) < 6:
        cuts.append(position + 1)
        position = path.find("/", position + 1)
    return cuts[::-1]


def _status_of(error: MoretonError) -> int:
    if isinstance(error, RequestTooLarge):
        return 413
    if isinstance(error, InstanceNotRegistered):
        return 404
    return 400 if isinstance(error, InstanceNotValid) else 500


def _pretty(answer: Answer) -> Answer:
    if not answer.body:
        return answer
    text = json.dumps(json.loads(answer.body), indent=_PRETTY_SPACES)
    return Answer(text.encode(), answer.status, answer.headers)


async def _send(answer: Answer, send: Send, *, with_body: bool) -> None:
    length = (b"content-length", str(len(answer.body)).encode())
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [*answer.headers, length],
    }
    await send(start)
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
