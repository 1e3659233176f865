"""The HTTP probe: a request that has to be answered with a status that is expected.

Over a connection of its own: whether a new one can be made is part of the question.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache

from moreton.registry.core.checks import HttpProbe
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckStatus
from moreton.registry.health.looking import Finding, where

_HEAD_BYTES_MAX = 64 * 1024
_HEADERS_MAX = 200
_BODY_BYTES_SHOWN = 200
# RFC 6585: it is there and has too much to do. Taking it out would leave the others more.
_TOO_MANY_REQUESTS = 429
_DEFAULT_PORTS = {False: 80, True: 443}


async def look_http(instance: Instance, probe: HttpProbe) -> Finding:
    """Whether the answer has a status that is expected; 429 is a warning."""
    host, port = where(instance, probe.target)
    reader, writer = await asyncio.open_connection(
        host, port, ssl=_trust(verify=probe.verify) if probe.tls else None, limit=_HEAD_BYTES_MAX
    )
    try:
        writer.write(_request(probe, host, port))
        status = _status(await reader.readline())
        if status is None:
            return Finding(CheckStatus.CRITICAL, "the answer is not HTTP")
        if any(first <= status <= last for first, last in probe.expect):
            return Finding(CheckStatus.PASSING, f"status {status}")
        said = f"status {status}{await _excerpt(reader)}"
        is_busy = status == _TOO_MANY_REQUESTS
        return Finding(CheckStatus.WARNING if is_busy else CheckStatus.CRITICAL, said)
    finally:
        writer.transport.abort()


def _request(probe: HttpProbe, host: str, port: int) -> bytes:
    shown = f"[{host}]" if ":" in host else host
    place = shown if port == _DEFAULT_PORTS[probe.tls] else f"{shown}:{port}"
    headers = {"host": place, "user-agent": "moreton-health", "accept": "*/*"}
    headers.update((name.lower(), value) for name, value in probe.headers.items())
    body = probe.body.encode()
    if body or probe.method in {"POST", "PUT", "PATCH"}:
        headers["content-length"] = str(len(body))
    headers["connection"] = "close"
    lines = [f"{probe.method} {probe.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _status(line: bytes) -> int | None:
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].strip().isdigit():
        return None
    return int(words[1])


async def _excerpt(reader: asyncio.StreamReader) -> str:
    """The beginning of the body, for people."""
    try:
        for _ in range(_HEADERS_MAX):
            if await reader.readline() in {b"\r\n", b"\n", b""}:
                break
        body = await reader.read(_BODY_BYTES_SHOWN)
    except (OSError, ValueError):
        return ""
    text = " ".join(body.decode(errors="replace").split())
    return f": {text}" if text else ""


@lru_cache(maxsize=2)
def _trust(*, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
