"""One value of a Prometheus, or of anything that has its HTTP API."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from moreton.strangler.rollout.core.sides import Reading

# For all of it: a server that dribbles is as good as none.
_SECONDS_MAX = 5.0
_BODY_BYTES_MAX = 1024 * 1024
_SHOWN_CHARS = 120
_RANGES = "a range of moments, not one value: use avg_over_time(), or rate() of a counter"


async def ask(url: str, query: str, *, seconds: float = _SECONDS_MAX) -> Reading:
    """What *query* says now at the Prometheus at *url*; never raises for its troubles."""
    place = _place(url)
    # Loaded with the first metric: most migrations have none.
    httpx: Any = await asyncio.to_thread(importlib.import_module, "httpx")
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(trust_env=False, timeout=None, verify=trust_for(url)) as client,
            # By POST, so that no query is too long for a URL.
            client.stream("POST", f"{url}/api/v1/query", data={"query": query}) as answer,
        ):
            return read(answer.status_code, await _body(answer))
    except TimeoutError:
        return Reading(why=f"{place} does not answer within {seconds:g} s")
    except (OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = (str(error) or type(error).__name__).lower()
        return Reading(why=f"{place} does not answer: {reason}")


def trust_for(url: str) -> ssl.SSLContext | bool:
    """Whom to believe at *url*: the system's certificates, among which a company's own are."""
    return _trust() if url.startswith("https:") else False


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()  # 20 ms each time


def read(status: int, body: bytes) -> Reading:
    """The one value in an answer of `/api/v1/query`, or why there is none.

    Source: Prometheus, "HTTP API", sections "Format overview" and "Instant queries".
    """
    try:
        document = json.loads(body)
        if document["status"] != "success":
            return Reading(why=f"the query is refused: {document['error']}"[:_SHOWN_CHARS])
        return _value(document["data"])
    except (ValueError, KeyError, TypeError, IndexError):
        said = " ".join(body[:_SHOWN_CHARS].decode(errors="replace").split())
        return Reading(why=f"status {status}, and not what Prometheus answers: {said}")


def _value(data: Mapping[str, Any]) -> Reading:
    found = data["result"]
    match data["resultType"]:
        case "scalar":
            return _number(found[1])
        case "matrix":
            return Reading(why=f"the query finds {_RANGES}")
        case "string":
            return Reading(why="the query finds a text, not a number")
    if not found:
        return Reading(why="the query finds nothing: there is no such metric, or none lately")
    if len(found) > 1:
        return Reading(
            why=f"the query finds {len(found)} values instead of one: use sum() or max()"
        )
    return _number(found[0]["value"][1])


def _number(text: str) -> Reading:
    value = float(text)
    if math.isnan(value):
        return Reading(why="the query finds NaN, such as of 0 / 0: was there no traffic?")
    return Reading(value)


def _place(url: str) -> str:
    """*url* without the password that may be in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


async def _body(answer: Any) -> bytes:
    found = b""
    async for chunk in answer.aiter_bytes():
        found += chunk
        if len(found) > _BODY_BYTES_MAX:
            break
    return found
