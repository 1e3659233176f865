"""What is asked most, answered before the application: the desk of Moreton's own API."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from starlette.responses import JSONResponse, Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from moreton.controlplane.core.plain import Part, RenewalReader, WeightsReader
from moreton.controlplane.problems import fault_response
from moreton.kernel.errors import MoretonError
from moreton.kernel.quantities import format_duration

Renew: TypeAlias = Callable[[str, str], Awaitable[timedelta]]
# The document that answers.
Weigh: TypeAlias = Callable[[str, dict[str, int]], Awaitable[dict[str, Any]]]
Refuse: TypeAlias = Callable[[MoretonError], Response]

_Asked = TypeVar("_Asked")
# Answers by ttl, of which there are few.
_ANSWERS_MAX = 1024


class PlainDesk:
    """Has *renew* carry out renewals, *weigh* weights; *refuse* puts an error into words."""

    def __init__(self, *, token: str, renew: Renew, weigh: Weigh, refuse: Refuse) -> None:
        expected = f"Bearer {token}".encode()

        def is_allowed(given: bytes) -> bool:
            return secrets.compare_digest(given, expected)

        self._renewals = RenewalReader(is_allowed)
        self._weights = WeightsReader(is_allowed)
        self._renew = renew
        self._weigh = weigh
        self._refuse = refuse
        self._answers: dict[timedelta, bytes] = {}

    def answer(self, data: bytes) -> Coroutine[Any, Any, bytes] | Part | None:
        """What answers *data*, if it is one plain request and no more."""
        renewal = self._renewals.read(data)
        if renewal is not None:
            return self._answered(f"renewal of {'/'.join(renewal)}", self._renewed, *renewal)
        weights = self._weights.read(data)
        if weights is None or isinstance(weights, Part):
            return weights
        return self._answered(f"change of weights of {weights[0]}", self._weighed, *weights)

    async def _answered(
        self, what: str, work: Callable[[str, _Asked], Awaitable[bytes]], name: str, asked: _Asked
    ) -> bytes:
        try:
            return await work(name, asked)
        except MoretonError as error:
            return _encoded(self._refuse(error))
        except Exception as error:  # noqa: BLE001 - as the application's own handler
            return _encoded(fault_response(what, error))

    async def _renewed(self, service: str, instance_id: str) -> bytes:
        ttl = await self._renew(service, instance_id)
        found = self._answers.get(ttl)
        if found is None:
            found = self._remember(ttl)
        return found

    async def _weighed(self, route: str, weights: dict[str, int]) -> bytes:
        return _encoded(JSONResponse(await self._weigh(route, weights)))

    def _remember(self, ttl: timedelta) -> bytes:
        if len(self._answers) >= _ANSWERS_MAX:
            self._answers.clear()
        body = json.dumps({"ttl": format_duration(ttl)}, separators=(",", ":")).encode()
        found = self._answers[ttl] = _encoded(Response(body, media_type="application/json"))
        return found


def _encoded(response: Response) -> bytes:
    lines = [b"%b: %b\r\n" % pair for pair in response.raw_headers]
    return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)])
