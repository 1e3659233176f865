"""Requests and answers, without a web framework: this path is measured in microseconds."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from moreton.registry.consul.core.fields import read_json
from moreton.registry.consul.core.keys.entries import VALUE_BYTES_MAX
from moreton.registry.consul.core.queries import Parameters
from moreton.registry.consul.core.refusals import ConsulRequestRefused

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

# A transaction of values as large as they may be, in base64; the store takes 1.5 MiB.
BODY_BYTES_MAX = 2 * 1024 * 1024
JSON: Headers = ((b"content-type", b"application/json"),)
TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)


@dataclass(slots=True)
class Request:
    """One request: *rest* is what the path has behind that of its endpoint."""

    method: str
    path: str
    rest: str
    parameters: Parameters
    headers: Headers
    receive: Receive
    has_left: bool = False

    def header(self, name: bytes) -> str:
        """The first header *name*, which is in lower case; empty without one."""
        return next((v.decode("latin-1") for n, v in self.headers if n == name), "")

    async def body(self, *, limit: int = BODY_BYTES_MAX) -> bytes:
        """The whole body. Raises `ConsulRequestRefused` above *limit* bytes."""
        announced = self.header(b"content-length")
        if announced.isdigit() and int(announced) > limit:
            raise _too_large(int(announced), limit)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.has_left = True
                raise ConsulRequestRefused(400, "the client left before its request had ended")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(size, limit)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def json(self) -> Any:
        """The body as JSON; `None` for none. Raises `ConsulRequestRefused`."""
        found = await self.body()
        return read_json(found) if found.strip() else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    body: bytes = b""
    status: int = 200
    headers: Headers = JSON


def json_answer(value: Any, *, status: int = 200) -> Answer:
    """*value* as JSON."""
    return Answer(encode_json(value), status)


def text_answer(status: int, text: str) -> Answer:
    """An error as Consul tells it: a sentence."""
    return Answer(text.encode(errors="replace"), status, TEXT)


def encode_json(value: Any) -> bytes:
    """As short as it can be."""
    return json.dumps(value, separators=(",", ":")).encode()


def _too_large(size: int, limit: int) -> ConsulRequestRefused:
    what = "a value" if limit == VALUE_BYTES_MAX else "a body"
    return ConsulRequestRefused(
        413, f"Request body({size} bytes) too large, max size: {limit} bytes for {what}"
    )


Handler: TypeAlias = Callable[[Request], Awaitable[Answer]]
