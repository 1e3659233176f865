"""An adapter for requests.

session = requests.Session()
session.mount("https://", PacedAdapter(LocalLimiter(LeakyBucket("49/s", queue=500))))
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from requests import ConnectionError as RequestsConnectionError
from requests import ConnectTimeout, PreparedRequest, Response
from requests.adapters import HTTPAdapter

from moreton.ratelimit.clients.pacing import Pace
from moreton.ratelimit.limiter import Keys, Limiter
from moreton.resilience.clients.foreign import foreign

_WAIT = timedelta(seconds=30)


class PacedAdapter(HTTPAdapter):
    """Sends requests when it is their turn: see `moreton.ratelimit.clients.pacing.Pace`.

    `RateLimited` and `HeldBack` are errors of requests, too. *settings* are those of `HTTPAdapter`.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        wait: timedelta = _WAIT,
        key: Callable[[str], Keys] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._pace = Pace(limiter, wait=wait, key=key)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send *request* when it is its turn."""
        destination = _destination(request)
        with foreign(RequestsConnectionError, ConnectTimeout, request=request, response=None):
            held = self._pace.enter(destination)
        try:
            answer = super().send(request, *args, **kwargs)
        finally:
            self._pace.leave(held)
        self._pace.learn(destination, answer.status_code, answer.headers)
        return answer


def _destination(request: PreparedRequest) -> str:
    url = urlsplit(request.url or "")
    return f"{url.scheme}://{url.hostname}:{url.port or {'http': 80, 'https': 443}.get(url.scheme)}"
