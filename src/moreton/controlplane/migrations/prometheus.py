"""One value of a Prometheus, or of anything that has its HTTP API."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import math
from typing import Any
from urllib.parse import urlencode, urlsplit

from moreton.strangler.rollout.core.sides import Reading

_SECONDS_MAX = 3.0
_BODY_BYTES_MAX = 1024 * 1024
_SHOWN_CHARS = 120


async def ask(url: str, query: str) -> Reading:
    """What *query* says now at the Prometheus at *url*; never raises for its troubles."""
    try:
        async with asyncio.timeout(2 * _SECONDS_MAX):
            status, body = await asyncio.to_thread(_get, url, query)
    except (OSError, TimeoutError, http.client.HTTPException, ValueError) as error:
        reason = (str(error) or type(error).__name__).lower()
        return Reading(why=f"{url} does not answer: {reason}")
    return read(status, body)


def read(status: int, body: bytes) -> Reading:
    """The one value in an answer of `/api/v1/query`, or why there is none."""
    try:
        document = json.loads(body)
        if document["status"] != "success":
            return Reading(why=f"the query is refused: {document['error']}"[:_SHOWN_CHARS])
        return _value(document["data"])
    except (ValueError, KeyError, TypeError, IndexError):
        said = " ".join(body[:_SHOWN_CHARS].decode(errors="replace").split())
        return Reading(why=f"status {status}, and not what Prometheus answers: {said}")


def _value(data: Any) -> Reading:
    if data["resultType"] == "scalar":
        return _number(data["result"][1])
    found = data["result"]
    if not found:
        return Reading(why="the query finds nothing: there is no such metric, or none lately")
    if len(found) > 1:
        return Reading(
            why=f"the query finds {len(found)} values instead of one: use sum() or max()"
        )
    return _number(found[0]["value"][1])


def _number(text: str) -> Reading:
    value = float(text)
    return Reading(why=f"it is {text}") if math.isnan(value) else Reading(value)


def _get(url: str, query: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS_MAX)
    with contextlib.closing(connection):
        connection.request("GET", f"{parts.path}/api/v1/query?{urlencode({'query': query})}")
        answer = connection.getresponse()
        return answer.status, answer.read(_BODY_BYTES_MAX)
