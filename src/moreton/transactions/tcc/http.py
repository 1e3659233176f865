"""A participant that is a service: its calls are JSON over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from moreton.kernel.arguments import check_duration
from moreton.transactions.barrier.call import Call
from moreton.transactions.tcc.errors import Refused

if TYPE_CHECKING:
    import httpx

_TIMEOUT = timedelta(seconds=5)
# Too early, and too many: the service says that it did nothing and may be asked again.
_AGAIN = {408, 425, 429}
_REASON_CHARS_MAX = 200


class HttpParticipant:
    """Sends each call to *url* by POST, its act at the end: `/do`, `/confirm`, `/undo`.

    The body is `Call.as_document`; the service gives it to `Call.from_document` and asks its
    barrier. 2xx: done. 4xx: refused, with a reason in the body. Anything else, and no answer within
    *timeout*: unknown.
    """

    def __init__(
        self, url: str, *, timeout: timedelta = _TIMEOUT, headers: Mapping[str, str] | None = None
    ) -> None:
        check_duration("timeout", timeout)
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url is {url!r}: give one that begins with http:// or https://")
        self._url = url.rstrip("/")
        self._timeout = timeout.total_seconds()
        self._headers = dict(headers or {})

    def __call__(self, call: Call) -> None:
        """Ask the service; raises `Refused`, or what was wrong."""
        import httpx  # noqa: PLC0415 - only who has such participants loads it

        response = httpx.post(
            f"{self._url}/{call.act}",
            json=call.as_document(),
            # A service may have a middleware that knows it.
            headers={**self._headers, **call.headers, "idempotency-key": f'"{_key(call)}"'},
            timeout=self._timeout,
        )
        _look(response)


def _key(call: Call) -> str:
    # A structured string takes printable ASCII alone.
    plain = f"{call.transaction_id}.{call.branch}.{call.act}"
    return plain.encode("ascii", "backslashreplace").decode().replace("\\", "/").replace('"', "'")


def _look(response: httpx.Response) -> None:
    if response.is_success:
        return
    told = " ".join(response.text[:_REASON_CHARS_MAX].split())
    reason = f"status {response.status_code}{told and f': {told}'}"
    if response.is_client_error and response.status_code not in _AGAIN:
        raise Refused(reason)
    raise ConnectionError(reason)
