"""One try to tell one event to one URL."""

from __future__ import annotations

import asyncio
import http
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from moreton import __version__
from moreton.controlplane.migrations.prometheus import trust_for
from moreton.resilience.core.retry_after import parse_retry_after
from moreton.strangler.rollout.core.webhooks import Webhook, body_of, headers_of
from moreton.strangler.rollout.webhooks import check_secret

# Whoever asks for more is asked again before.
RETRY_AFTER_MAX = timedelta(hours=1)
_SAID_CHARS_MAX = 120
_SAID_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a try: taken without an *error*; *wait* is asked for, *gone* means for ever."""

    error: str = ""
    wait: timedelta = timedelta(0)
    gone: bool = False


class Post(Protocol):
    """How an event is told."""

    async def __call__(self, webhook: Webhook, document: Mapping[str, Any], now: datetime) -> Said:
        """Tell the event *document*, once; never raises for the receiver's troubles."""
        ...


async def post(webhook: Webhook, document: Mapping[str, Any], now: datetime) -> Said:
    """As `Post`, over HTTP: whatever the receiver does, it is over after the time limit."""
    # Loaded with the first event: most have no webhook.
    httpx: Any = await asyncio.to_thread(importlib.import_module, "httpx")
    try:
        secret = await asyncio.to_thread(read_secret, webhook)
    except (OSError, ValueError) as error:
        return Said(f"its secret cannot be used: {_reason(error)}")
    body = body_of(document)
    headers = headers_of(document["id"], body, int(now.timestamp()), secret)
    headers["user-agent"] = f"moreton/{__version__}"
    try:
        async with (
            asyncio.timeout(webhook.timeout.total_seconds()),
            httpx.AsyncClient(verify=trust_for(webhook.url), timeout=None) as client,
            client.stream("POST", webhook.url, content=body, headers=headers) as answer,
        ):
            return await _read(answer, now)
    except TimeoutError:
        return Said(f"no answer within {webhook.timeout.total_seconds():g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return Said(_reason(error))


def read_secret(webhook: Webhook) -> str:
    """The secret of *webhook*; empty without one. Raises `OSError`, `ValueError`."""
    if not webhook.secret_file:
        return webhook.secret
    secret = Path(webhook.secret_file).read_text(encoding="utf-8").strip()
    check_secret(secret)
    return secret


def place_of(webhook: Webhook) -> str:
    """Where it goes, for people: paths and queries of webhooks are often secrets."""
    parts = urlsplit(webhook.url)
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


async def _read(answer: Any, now: datetime) -> Said:
    status = answer.status_code
    if http.HTTPStatus(200) <= status < http.HTTPStatus.MULTIPLE_CHOICES:
        return Said()
    if http.HTTPStatus.MULTIPLE_CHOICES <= status < http.HTTPStatus.BAD_REQUEST:
        return Said(f"it answers {status}, and redirects are not followed: write the new URL")
    asked = parse_retry_after(answer.headers.get("retry-after", ""), now) or timedelta(0)
    text = b""
    async for chunk in answer.aiter_bytes():
        text += chunk
        if len(text) >= _SAID_BYTES_MAX:
            break
    said = " ".join(text[:_SAID_BYTES_MAX].decode(errors="replace").split())[:_SAID_CHARS_MAX]
    error = f"it answers {status}" + (f": {said}" if said else "")
    return Said(error, min(asked, RETRY_AFTER_MAX), status == http.HTTPStatus.GONE)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).lower()
