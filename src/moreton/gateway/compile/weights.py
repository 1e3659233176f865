"""The shares of routes with several destinations, as runtime values.

A runtime value reaches Envoy in the same time however many routes there are; see ADR 0003.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import struct_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.wire import Splice, content_hash, delimited, delimited_parts, digest, serialize

LAYER = "weights"
_RUNTIME = rtds_pb2.Runtime
_FIELDS = struct_pb2.Struct.FIELDS_FIELD_NUMBER


def runtime_prefix(route: str) -> str:
    """The prefix of *route*'s keys: `weights.<route>:`, then Envoy adds `.<service>`.

    Names may have dots but no colon, so that no two routes share a key.
    """
    return f"{LAYER}.{route}:"


class Weights:
    """The layer's values, each route's serialised once."""

    def __init__(self) -> None:
        self._parts = Splice()
        self._shares: dict[str, dict[str, int]] = {}
        self._changed = True

    def put(self, route: str, shares: Mapping[str, int]) -> None:
        """The shares of *route*; fewer than two are no choice and need no value.

        Raises `ValueError` when there are several and all are 0: Envoy would have no choice.
        """
        if len(shares) < 2:
            self.remove(route)
            return
        if not any(shares.values()) or min(shares.values()) < 0:
            raise ValueError(f"route {route!r} has the weights {dict(shares)}: give one above 0")
        if self._shares.get(route) == shares:
            return
        self._shares[route] = dict(shares)
        part = b"".join(_value(route, name, share) for name, share in sorted(shares.items()))
        self._parts.update({route: (part, digest(part))})
        self._changed = True

    def remove(self, route: str) -> None:
        """Forget *route*."""
        if self._shares.pop(route, None) is not None:
            self._parts.update({}, [route])
            self._changed = True

    def take(self) -> Resource | None:
        """The layer, when it changed since the last call."""
        if not self._changed:
            return None
        self._changed = False
        body = delimited(_RUNTIME.NAME_FIELD_NUMBER, LAYER.encode()) + delimited_parts(
            _RUNTIME.LAYER_FIELD_NUMBER, self._parts.parts()
        )
        key = ResourceKey(TypeUrl.RUNTIME, LAYER)
        return Resource(key, content_hash(self._parts.digest()), body)


def _value(route: str, service: str, share: int) -> bytes:
    key = f"{runtime_prefix(route)}.{service}".encode()
    value = serialize(struct_pb2.Value(number_value=share))
    return delimited(_FIELDS, delimited(1, key) + delimited(2, value))
