"""What an error says of the call that raised it: worth another try, and whether it was sent."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.resilience.core.headers import NEVER, RETRY
from moreton.resilience.core.retry_after import retry_after_of
from moreton.resilience.core.retrying import Failure
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
_CHAIN_MAX = 8


def is_transient(error: BaseException) -> bool:
    """The default of what to retry on: trouble of connections and time, and what advises it."""
    if isinstance(error, Refused):
        return False  # a layer said no on purpose
    if isinstance(error, MoretonError):
        return error.retry is not RetryAdvice.NEVER
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return True
    return _named(error, _TRANSIENT)


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


def failure_of(error: BaseException, *, retriable: bool) -> Failure:
    """What *error* says, with what its response says, if it carries one."""
    headers, problem = _response(error)
    floor = retry_after_of(headers, problem, datetime.now(UTC)) if headers else None
    if floor is None:
        asked = getattr(error, "retry_in", None)
        floor = asked if isinstance(asked, timedelta) else None
    return Failure(
        retriable,
        unsent=proves_unsent(error),
        final=headers.get(RETRY, "") == NEVER,
        floor=0.0 if floor is None else floor.total_seconds(),
    )


def _named(error: BaseException, names: frozenset[str]) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)


def _inner(error: BaseException) -> BaseException | None:
    """The error within: requests and urllib3 pack it into arguments and a `reason`."""
    for held in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(held, BaseException):
            return held
    return error.__cause__


def _response(error: BaseException) -> tuple[Mapping[str, str], object]:
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None)
    if headers is None:
        headers = getattr(error, "headers", None)
    if not isinstance(headers, Mapping):
        return {}, None
    return headers, getattr(error, "problem", None)
