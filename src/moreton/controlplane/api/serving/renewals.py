"""Renewals answered before the application: the desk of Moreton's own API."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeAlias

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from moreton.controlplane.core.renewals import RenewalReader
from moreton.controlplane.problems import fault_response
from moreton.kernel.errors import MoretonError
from moreton.kernel.quantities import format_duration

Renew: TypeAlias = Callable[[str, str], Awaitable[timedelta]]
Refuse: TypeAlias = Callable[[MoretonError], Response]

# Answers by ttl, of which there are few.
_ANSWERS_MAX = 1024


class Renewals:
    """How renewals are answered: *renew* carries one out, *refuse* puts an error into words."""

    def __init__(self, *, token: str, renew: Renew, refuse: Refuse) -> None:
        expected = f"Bearer {token}".encode()
        self._reader = RenewalReader(lambda given: secrets.compare_digest(given, expected))
        self._renew = renew
        self._refuse = refuse
        self._answers: dict[timedelta, bytes] = {}

    def answer(self, data: bytes) -> Coroutine[Any, Any, bytes] | None:
        """What answers *data*, if it is one renewal and no more."""
        asked = self._reader.read(data)
        return None if asked is None else self._answered(*asked)

    async def _answered(self, service: str, instance_id: str) -> bytes:
        try:
            ttl = await self._renew(service, instance_id)
        except MoretonError as error:
            return _encoded(self._refuse(error))
        except Exception as error:  # noqa: BLE001 - as the application's own handler
            return _encoded(fault_response(f"renewal of {service}/{instance_id}", error))
        found = self._answers.get(ttl)
        if found is None:
            found = self._remember(ttl)
        return found

    def _remember(self, ttl: timedelta) -> bytes:
        if len(self._answers) >= _ANSWERS_MAX:
            self._answers.clear()
        body = json.dumps({"ttl": format_duration(ttl)}, separators=(",", ":")).encode()
        found = self._answers[ttl] = _encoded(Response(body, media_type="application/json"))
        return found


def _encoded(response: Response) -> bytes:
    lines = [b"%b: %b\r\n" % pair for pair in response.raw_headers]
    return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)])
