"""Reads of what is remembered, answered without an HTTP parser.

A client asks with the very same bytes each time. What such bytes ask for is found once, by the ways
of the application; from then on only the answer to it is looked up. Requests that wait, that ask
the store, that want to be spelled out or are unusual in any way are left to the application.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import NamedTuple
from urllib.parse import unquote

from moreton.registry.consul.core.queries import Options, parse_options, parse_parameters
from moreton.registry.consul.core.refusals import ConsulRequestRefused
from moreton.registry.consul.messages import Answer, Headers, Request
from moreton.registry.consul.web.app import ConsulApp
from moreton.registry.consul.web.reading import Look, Reading

_BEGINS = (b"GET /v1/health/", b"GET /v1/catalog/")
_REQUEST = re.compile(rb"GET (/[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*) HTTP/1\.1")
# Visible characters and blanks between them: nothing that two parsers could take for two things.
_HEADER = re.compile(rb"([A-Za-z0-9-]{1,64}):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
# What says how the request goes on, or the connection.
_UNUSUAL = frozenset({b"content-length", b"expect", b"te", b"transfer-encoding", b"upgrade"})
_END = b"\r\n\r\n"
_ASKED_MAX = 1024
_ASKED_BYTES_MAX = 2048


class _Asked(NamedTuple):
    look: Look
    options: Options


class QuickReads:
    """Answers requests as *app* does, those that only look at what is there."""

    def __init__(self, app: ConsulApp, reading: Reading) -> None:
        self._app = app
        self._reading = reading
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()

    def __len__(self) -> int:
        """How many requests are known by their bytes."""
        return len(self._asked)

    def answer(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Head and body for *data*, if it is one whole such request and no more."""
        asked = self._asked.get(data)
        if asked is None:
            if not data.startswith(_BEGINS) or len(data) > _ASKED_BYTES_MAX:
                return None
            asked = self._read(data)
            if asked is None:
                return None
        try:
            found = self._reading.taken(*asked)
        except Exception:  # noqa: BLE001 - the application fails in the same way, and says so
            return None
        return (_head(found), found.body) if found.status == 200 else None

    def _read(self, data: bytes) -> _Asked | None:
        request = _parsed(data)
        if request is None or "pretty" in request.parameters:
            return None
        try:
            look = self._app.look(request)
            options = parse_options(request.parameters)
        except ConsulRequestRefused:
            return None
        if look is None or look.always or options.consistent or options.blocking is not None:
            return None
        if len(self._asked) >= _ASKED_MAX:
            self._asked.popitem(last=False)
        found = self._asked[data] = _Asked(look, options)
        return found


def _parsed(data: bytes) -> Request | None:
    if not data.endswith(_END):
        return None
    first, *lines = data[: -len(_END)].split(b"\r\n")
    line = _REQUEST.fullmatch(first)
    if line is None:
        return None
    headers: list[tuple[bytes, bytes]] = []
    for each in lines:
        found = _HEADER.fullmatch(each)
        if found is None:
            return None
        headers.append((found[1].lower(), found[2]))
    if not _is_usual(headers):
        return None
    path, _, query = line[1].partition(b"?")
    try:
        parameters = parse_parameters(query)
    except ConsulRequestRefused:
        return None
    return Request("GET", unquote(path.decode()), "", parameters, headers, _nothing)


def _is_usual(headers: Headers) -> bool:
    kept = all(v.lower() == b"keep-alive" for n, v in headers if n == b"connection")
    return kept and not any(name in _UNUSUAL for name, _ in headers)


async def _nothing() -> dict[str, object]:
    raise AssertionError("a look reads no body")


def _head(answer: Answer) -> bytes:
    lines = [b"%b: %b\r\n" % pair for pair in answer.headers]
    length = b"content-length: %d\r\n\r\n" % len(answer.body)
    return b"".join((b"HTTP/1.1 200 OK\r\n", *lines, length))
