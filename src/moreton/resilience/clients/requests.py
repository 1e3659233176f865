"""An adapter for requests.

session = requests.Session()
session.mount("https://", ResilientAdapter(policy))
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any, cast
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import rewind_body

from moreton.resilience.clients.exchange import (
    FAILURES,
    AnswerFailed,
    Destinations,
    Policies,
    add_fields,
    give_up,
    may_repeat,
    repeatable,
    shorter,
)


class ResilientAdapter(HTTPAdapter):
    """Sends requests under the policy of their destination.

    A request is sent again if its method is idempotent or it has an Idempotency-Key, or when the
    adapter was made with *idempotent*; else only after errors that prove that nothing was sent. A
    body that is a file is wound back; one that cannot be is never sent again. Answers with a status
    in *failures* count as failures; the last one is returned.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        idempotent: bool = False,
        failures: Iterable[int] = FAILURES,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._destinations = Destinations(policies, failures)
        self._idempotent = idempotent

    def send(  # noqa: PLR0917 - the signature of requests
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - as above
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002 - as above
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send *request*; raises what requests raises, and `Refused` of a layer."""
        policy = self._destinations[_destination(request)]
        headers = cast("MutableMapping[str, str]", request.headers)
        last: Response | None = None
        attempts = 0

        def attempt() -> Response:
            nonlocal last, attempts
            if last is not None:
                last.close()
                last = None
            attempts += 1
            if attempts > 1 and _position(request) is not None:
                rewind_body(request)
            add_fields(headers)
            sending = super(ResilientAdapter, self).send
            try:
                last = sending(request, stream, _timeout(timeout), verify, cert, proxies)
                self._destinations.check(last, last.status_code, last.headers)
            except Exception as error:
                if not _replayable(request):
                    give_up(error)
                raise
            return last

        may = may_repeat(request.method or "", headers, said=self._idempotent)
        with repeatable(may=may):
            try:
                return policy.call(attempt)
            except AnswerFailed as failed:
                response: Response = failed.response
                return response
            except BaseException:
                if last is not None:
                    last.close()
                raise


def _destination(request: PreparedRequest) -> str:
    url = urlsplit(request.url or "")
    return f"{url.scheme}://{url.hostname}:{url.port or {'http': 80, 'https': 443}.get(url.scheme)}"


def _replayable(request: PreparedRequest) -> bool:
    """Whether the body can be sent again; requests notes where a file began."""
    body = request.body
    return body is None or isinstance(body, str | bytes) or _position(request) is not None


def _position(request: PreparedRequest) -> int | None:
    position = getattr(request, "_body_position", None)
    return position if isinstance(position, int) else None


def _timeout(timeout: Any) -> tuple[float | None, float | None]:
    """The limits to connect and to read, at most what is left for the attempt."""
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return shorter(connect), shorter(read)
