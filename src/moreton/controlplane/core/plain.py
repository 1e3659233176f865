"""The two requests that are asked most, as clients send them: renewals, and weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum
from typing import Any

from moreton.controlplane.core.heads import END, HeadReader

# Names as `moreton.registry.core.instance` allows them, without any escape.
_RENEWAL = re.compile(
    rb"PUT /v1/services/([a-z0-9-]{1,63})/instances/([A-Za-z0-9][A-Za-z0-9._:-]{0,127})/lease"
    rb" HTTP/1\.1\r\n"
)
_WEIGHTS = re.compile(rb"PUT /v1/routes/([A-Za-z0-9][A-Za-z0-9._-]{0,127})/weights HTTP/1\.1\r\n")
_JSON = b"application/json"
_BODY_BYTES_MAX = 4096
# Beyond it nothing is a weight: the application says what is wrong.
_WEIGHT_MAX = 2**31


class Part(Enum):
    """A request whose end has not come yet."""

    MORE = "more"


class RenewalReader:
    """Reads requests `PUT /v1/services/{service}/instances/{id}/lease`.

    *is_allowed* judges the value of the header `authorization`.
    """

    def __init__(self, is_allowed: Callable[[bytes], bool]) -> None:
        self._heads = HeadReader(is_allowed)

    def read(self, data: bytes) -> tuple[str, str] | None:
        """Service and id, if *data* is one whole such request that is allowed, and no more."""
        found = _RENEWAL.match(data)
        if found is None:
            return None
        head = self._heads.read(data[found.end() :])
        if head is None or head.length:
            return None
        return found[1].decode(), found[2].decode()


class WeightsReader:
    """Reads requests `PUT /v1/routes/{route}/weights`, whose body often comes after the head.

    *is_allowed* judges the value of the header `authorization`.
    """

    def __init__(self, is_allowed: Callable[[bytes], bool]) -> None:
        self._heads = HeadReader(is_allowed)

    def read(self, data: bytes) -> tuple[str, dict[str, int]] | Part | None:
        """Route and weights, if *data* is one such request that is allowed, and no more."""
        found = _WEIGHTS.match(data)
        if found is None:
            return None
        end = data.find(END, found.end() - 2) + len(END)
        head = self._heads.read(data[found.end() : end])
        if head is None or head.content_type != _JSON or head.length > _BODY_BYTES_MAX:
            return None
        if len(data) < end + head.length:
            return Part.MORE
        weights = _weights(data[end:]) if len(data) == end + head.length else None
        return None if weights is None else (found[1].decode(), weights)


def _weights(body: bytes) -> dict[str, int] | None:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    are_plain = all(type(each) is int and abs(each) < _WEIGHT_MAX for each in found.values())
    return found if are_plain else None
