"""What an error says of the call that raised it: worth another try, and whether it was sent."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.resilience.core.headers import NEVER, RETRY
from moreton.resilience.core.retry_after import retry_after_of
from moreton.resilience.core.retrying import RETRIABLE_STATUSES
from moreton.resilience.errors import Refused

# By name: the libraries themselves need not be there. Each is raised before a byte is written.
_UNSENT = frozenset(
    {
        "httpx.ConnectError",
        "httpx.ConnectTimeout",
        "httpx.PoolTimeout",
        "httpx2.ConnectError",
        "httpx2.ConnectTimeout",
        "httpx2.PoolTimeout",
        "httpcore.ConnectError",
        "httpcore.ConnectTimeout",
        "requests.exceptions.ConnectTimeout",
        "urllib3.exceptions.NewConnectionError",
        "urllib3.exceptions.ConnectTimeoutError",
        "aiohttp.client_exceptions.ClientConnectorError",
        "aiohttp.client_exceptions.ConnectionTimeoutError",
    }
)
_TRANSIENT = frozenset(
    {
        "httpx.TransportError",
        "httpx2.TransportError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "requests.exceptions.ChunkedEncodingError",
        "urllib3.exceptions.HTTPError",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
    }
)
# Mistakes of one's own, though of those kinds.
_OWN_FAULTS = frozenset(
    {
        "httpx.LocalProtocolError",
        "httpx.UnsupportedProtocol",
        "httpx2.LocalProtocolError",
        "httpx2.UnsupportedProtocol",
        "urllib3.exceptions.LocationValueError",
    }
)
_CHAIN_MAX = 8
_NOTHING_ASKED = (0.0, False)


def is_transient(error: BaseException) -> bool:
    """The default of what to retry on: trouble of connections and time, and what advises it.

    Also answers 429, 502, 503 and 504, where a library raises them.
    """
    if isinstance(error, Refused):
        return False  # a layer said no on purpose
    if isinstance(error, MoretonError):
        return error.retry is not RetryAdvice.NEVER
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return True
    status = status_of(error)
    if status is not None:
        return status in RETRIABLE_STATUSES
    reason = getattr(error, "reason", None)  # of urllib
    if isinstance(reason, ConnectionError | TimeoutError | socket.gaierror):
        return True
    return _named(error, _TRANSIENT) and not _named(error, _OWN_FAULTS)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that *error*, or the response it carries, stands for."""
    response = getattr(error, "response", None)
    holder = error if response is None else response
    for name in ("status_code", "status"):
        status = getattr(holder, name, None)
        if isinstance(status, int):
            return status
    return None


def proves_unsent(error: BaseException) -> bool:
    """Whether *error* proves that the destination got nothing of the request."""
    found: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if found is None:
            return False
        if isinstance(found, ConnectionRefusedError | socket.gaierror | Refused):
            return True
        if _named(found, _UNSENT):
            return True
        found = _inner(found)
    return False


def asked_of(error: BaseException) -> tuple[float, bool]:
    """The seconds that *error*, or its answer, asks to wait; and whether that forbids retries."""
    if getattr(error, "moreton_final", False):  # set by a client that cannot send it again
        return 0.0, True
    if type(error).__module__ == "builtins":  # these carry no answer
        return _NOTHING_ASKED
    response = getattr(error, "response", None)
    headers = getattr(error if response is None else response, "headers", None)
    if isinstance(headers, Mapping):
        asked = retry_after_of(headers, getattr(error, "problem", None), datetime.now(UTC))
        seconds = 0.0 if asked is None else asked.total_seconds()
        return seconds, headers.get(RETRY, "") == NEVER
    asked = getattr(error, "retry_in", None)
    return (asked.total_seconds() if isinstance(asked, timedelta) else 0.0), False


def _named(error: BaseException, names: frozenset[str]) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)


def _inner(error: BaseException) -> BaseException | None:
    """The error within: requests and urllib3 pack it into arguments and a `reason`."""
    for held in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(held, BaseException):
            return held
    return error.__cause__
