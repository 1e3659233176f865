"""One HTTP exchange with one member of an etcd, and what can become of it."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from moreton.store.etcd.core.address import EtcdAddress, TlsFiles
from moreton.store.etcd.core.assembly import Lines, LineTooLong
from moreton.store.etcd.core.messages import Document
from moreton.store.etcd.core.refusals import Refusal, refusal_of
from moreton.store.etcd.errors import EtcdTlsUnusable, NotAnEtcd

_CONNECT_SECONDS = 2.0
_ANSWER_BYTES_MAX = 1024 * 1024 * 1024
_EXCERPT_CHARS = 80
# Connections kept while idle: as many as calls are made at a time, for a while.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60)


class Unsent(Exception):
    """The member was not reached: nothing happened there."""


class Lost(Exception):
    """The member was asked and did not answer: it may have done it or not."""


class Refused(Exception):
    """The member said no. *repeated*: an earlier attempt may have done it nevertheless."""

    def __init__(self, refusal: Refusal, *, repeated: bool = False) -> None:
        self.refusal = refusal
        self.repeated = repeated
        super().__init__(refusal.reason)


class Exchange:
    """The HTTP client: connections are its own, and nothing of the environment sways it."""

    def __init__(self, address: EtcdAddress) -> None:
        # A proxy of the environment is for the world outside, not for one's own etcd.
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=_trust(address.tls),
                limits=_LIMITS,
                socket_options=_keepalive(),
                trust_env=False,
            ),
            trust_env=False,
        )

    async def ask(
        self, endpoint: str, path: str, body: Document, headers: Mapping[str, str], seconds: float
    ) -> dict[str, Any]:
        """The answer. Raises `Unsent`, `Lost`, `Refused`, `NotAnEtcd`."""
        limits = httpx.Timeout(seconds, connect=min(seconds * 0.9, _CONNECT_SECONDS))
        try:
            async with asyncio.timeout(seconds):
                async with self._request(endpoint, path, body, headers, limits) as response:
                    content = await _content(endpoint, response)
        except TimeoutError as error:
            raise Lost(f"no answer from {endpoint} within {seconds:.3g} s") from error
        return _document(endpoint, response.status_code, content)

    @asynccontextmanager
    async def stream(
        self, endpoint: str, path: str, body: Document, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncGenerator[dict[str, Any], None]]:
        """The results of a stream as they come. They raise what `ask` does."""
        limits = httpx.Timeout(_CONNECT_SECONDS, read=None)
        async with self._request(endpoint, path, body, headers, limits) as response:
            documents = _documents(endpoint, response)
            try:
                yield documents
            finally:
                await documents.aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _request(
        self,
        endpoint: str,
        path: str,
        body: Document,
        headers: Mapping[str, str],
        limits: httpx.Timeout,
    ) -> AsyncIterator[httpx.Response]:
        content = json.dumps(body).encode()
        sent = {**headers, "content-type": "application/json"}
        try:
            async with self._client.stream(
                "POST", endpoint + path, content=content, headers=sent, timeout=limits
            ) as response:
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unsent(_said(error)) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise Lost(_said(error)) from error


async def _content(endpoint: str, response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > _ANSWER_BYTES_MAX:
            reason = f"an answer of more than {_ANSWER_BYTES_MAX} bytes"
            raise NotAnEtcd(endpoint=endpoint, reason=reason)
    return b"".join(parts)


async def _documents(
    endpoint: str, response: httpx.Response
) -> AsyncGenerator[dict[str, Any], None]:
    if response.status_code != httpx.codes.OK:
        _document(endpoint, response.status_code, await _content(endpoint, response))
    lines = Lines()
    try:
        async for data in response.aiter_bytes():
            for line in lines.take(data):
                yield _document(endpoint, response.status_code, line)
    except LineTooLong as error:
        raise NotAnEtcd(endpoint=endpoint, reason="a line of more than 64 MiB") from error


def _document(endpoint: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise _foreign(endpoint, status, content) from error
    if not isinstance(document, dict):
        raise _foreign(endpoint, status, content)
    refusal = refusal_of(document)
    if refusal is not None:
        raise Refused(refusal)
    # A stream wraps each of its results; a call that is a stream of one (keep alive) does too.
    found = document.get("result", document)
    if status != httpx.codes.OK or not isinstance(found, dict):
        raise _foreign(endpoint, status, content)
    return found


def _foreign(endpoint: str, status: int, content: bytes) -> Exception:
    excerpt = content[:_EXCERPT_CHARS].decode("ascii", "replace").strip()
    reason = f"it says {status} and {excerpt!r}"
    # Something between us and the etcd, such as a load balancer, is in trouble.
    return Lost(reason) if status >= 500 else NotAnEtcd(endpoint=endpoint, reason=reason)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _trust(files: TlsFiles | None) -> ssl.SSLContext:
    if files is None:
        # Never used; the default would load every authority of the system.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context = ssl.create_default_context(cafile=files.ca)
        if files.cert is not None:
            context.load_cert_chain(files.cert, files.key)
    except (OSError, ValueError) as error:
        raise EtcdTlsUnusable(reason=_said(error)) from error
    return context


def _keepalive() -> list[tuple[int, int, int]]:
    """A watch that is idle must notice that the machine at the other end is gone."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    wanted = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    for name, value in wanted:
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
