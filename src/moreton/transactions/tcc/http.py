"""A participant that is a service: its calls are JSON over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from moreton.kernel.arguments import check_duration
from moreton.kernel.quantities import format_duration
from moreton.resilience.clients.trust import trust_of
from moreton.transactions.barrier.call import Call
from moreton.transactions.tcc.errors import Refused

if TYPE_CHECKING:
    import ssl

    import httpx

_TIMEOUT = timedelta(seconds=5)
# Too early, and too many: the service says that it did nothing and may be asked again.
_AGAIN = {408, 425, 429}
_REASON_CHARS_MAX = 200
_REASON_BYTES_MAX = 4 * _REASON_CHARS_MAX
# What our own `moreton.transactions.idempotency` takes, and others hardly take more.
_KEY_CHARS_MAX = 200
# A structured string takes printable ASCII alone; a dot in the branch could be the one before it.
_PLAIN_NAMES = re.compile(
    r"[\x20-\x21\x23-\x5b\x5d-\x7e]+\n[\x20-\x21\x23-\x2d\x2f-\x5b\x5d-\x7e]+"
)


class HttpParticipant:
    """Sends each call to *url* by POST, its act at the end: `/do`, `/confirm`, `/undo`.

    The body is `Call.as_document`; the service gives it to `Call.from_document` and asks its
    barrier. 2xx: done. 4xx: refused, with a reason in the body. Anything else, and no answer within
    *timeout*, however slowly it comes: unknown.
    """

    def __init__(
        self, url: str, *, timeout: timedelta = _TIMEOUT, headers: Mapping[str, str] | None = None
    ) -> None:
        check_duration("timeout", timeout)
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url is {url!r}: give one that begins with http:// or https://")
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._headers = dict(headers or {})

    def __call__(self, call: Call) -> None:
        """Ask the service; raises `Refused`, or what was wrong."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._ask(call))
            return
        # Whoever calls us in a coroutine waits, as for any plain function.
        with ThreadPoolExecutor(1, "moreton-tcc-http") as beside:
            beside.submit(copy_context().run, asyncio.run, self._ask(call)).result()

    async def _ask(self, call: Call) -> None:
        import httpx  # noqa: PLC0415 - only who has such participants loads it

        # A service may have a middleware that knows the key.
        headers = {**self._headers, **call.headers, "idempotency-key": f'"{_key(call)}"'}
        target, document = f"{self._url}/{call.act}", call.as_document()
        seconds = self._timeout.total_seconds()
        try:
            # The limits of an HTTP client are of each read: a service that answers a byte at a
            # time would hold the caller for as long as it likes.
            async with (
                asyncio.timeout(seconds) as limit,
                httpx.AsyncClient(timeout=seconds, verify=_trust_for(target)) as client,
                client.stream("POST", target, json=document, headers=headers) as response,
            ):
                if not response.is_success:
                    await _raise(response, limit)
        except TimeoutError as error:
            within = format_duration(self._timeout)
            raise TimeoutError(f"{target} did not answer within {within}") from error


def _trust_for(target: str) -> ssl.SSLContext | bool:
    """Whom to believe at *target*: whom its client believes, read once for all calls."""
    import httpx  # noqa: PLC0415 - as above

    return trust_of(httpx) if target.startswith("https://") else False


def _key(call: Call) -> str:
    """One for each call, the same when it is repeated."""
    names = call.transaction_id, call.branch
    plain = ".".join((*names, call.act))
    if len(plain) <= _KEY_CHARS_MAX and _PLAIN_NAMES.fullmatch("\n".join(names)):
        return plain
    return f"{sha256(json.dumps(names).encode()).hexdigest()}.{call.act}"


async def _raise(response: httpx.Response, limit: asyncio.Timeout) -> None:
    """What *response* means, which is no success; its body is of use, but not waited for."""
    ends = limit.when()
    limit.reschedule(None)
    told = " ".join((await _beginning(response, ends)).split())
    reason = f"status {response.status_code}{told and f': {told}'}"
    if response.is_client_error and response.status_code not in _AGAIN:
        raise Refused(reason)
    raise ConnectionError(reason)


async def _beginning(response: httpx.Response, ends: float | None) -> str:
    """The first that *response* says, until *ends*; what follows is not read."""
    import httpx  # noqa: PLC0415 - as above

    found = b""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout_at(ends):
            async for part in response.aiter_bytes():
                found += part
                if len(found) >= _REASON_BYTES_MAX:
                    break
    return found[:_REASON_BYTES_MAX].decode(errors="replace")[:_REASON_CHARS_MAX]
