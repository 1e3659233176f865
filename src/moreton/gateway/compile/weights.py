"""The shares of routes with several destinations, and of limits, as runtime values.

A runtime value reaches Envoy in the same time however many routes there are; see ADR 0003.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import struct_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.wire import Splice, content_hash, delimited, delimited_parts, digest, serialize

LAYER = "weights"
_RUNTIME = rtds_pb2.Runtime
_MILLION = 1_000_000
_FIELDS = struct_pb2.Struct.FIELDS_FIELD_NUMBER


def runtime_prefix(route: str) -> str:
    """The prefix of *route*'s keys: `weights.<route>:`, then Envoy adds `.<service>`.

    Names may have dots but no colon, so that no two routes share a key.
    """
    return f"{LAYER}.{route}:"


def first_of(route: str) -> str:
    """Who stands for *route* where the users go who go first: a name that no route can have."""
    return f"{route}:first"


class Weights:
    """The layer's values, each route's serialised once.

    A destination without an endpoint gets nothing, and its share goes to the others, as long as
    one of those has an endpoint and a weight.
    """

    def __init__(self) -> None:
        self._parts = Splice()
        self._shares: dict[str, dict[str, int]] = {}
        self._routes: defaultdict[str, set[str]] = defaultdict(set)  # service -> its routes
        self._empty: set[str] = set()
        self._after: frozenset[ResourceKey] | None = None  # the endpoints of all that get a share
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
        self.remove(route)
        self._shares[route] = dict(shares)
        for service in shares:
            if not self._routes[service]:
                self._after = None
            self._routes[service].add(route)
        self._serialize([route])

    def put_values(self, owner: str, values: Mapping[str, float | bool]) -> None:
        """What *owner* says, by key: shares in [0, 1] of the requests, or yes and no."""
        part = b"".join(_said(key, value) for key, value in sorted(values.items()))
        if self._parts.get(owner) != (part, digest(part)):
            self._parts.update({owner: (part, digest(part))})
            self._changed = True

    def remove_values(self, owner: str) -> None:
        """Forget what *owner* said."""
        if owner in self._parts:
            self._parts.update({}, [owner])
            self._changed = True

    def set_empty(self, service: str, *, empty: bool) -> None:
        """Whether *service* has no endpoint now."""
        if (service in self._empty) is not empty:
            self._empty ^= {service}
            self._serialize(self._routes.get(service, ()))

    def remove(self, route: str) -> None:
        """Forget *route*."""
        shares = self._shares.pop(route, None)
        if shares is not None:
            for service in shares:
                self._routes[service].discard(route)
                if not self._routes[service]:
                    self._after = None
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
        return Resource(key, content_hash(self._parts.digest()), body, after=self._places())

    def _places(self) -> frozenset[ResourceKey]:
        """The endpoints of whoever gets a share."""
        if self._after is None:
            there = (service for service, routes in self._routes.items() if routes)
            self._after = frozenset(ResourceKey(TypeUrl.ENDPOINTS, each) for each in there)
        return self._after

    def _serialize(self, routes: Iterable[str]) -> None:
        parts = {}
        for route in routes:
            shares = self._effective(self._shares[route])
            part = b"".join(_value(route, name, share) for name, share in sorted(shares.items()))
            parts[route] = (part, digest(part))
        if parts:
            self._parts.update(parts)
            self._changed = True

    def _effective(self, shares: Mapping[str, int]) -> Mapping[str, int]:
        if not any(share and name not in self._empty for name, share in shares.items()):
            return shares
        return {name: 0 if name in self._empty else share for name, share in shares.items()}


def _said(key: str, said: float | bool) -> bytes:  # noqa: FBT001 - a value, not a switch
    value = struct_pb2.Value()
    if isinstance(said, bool):
        value.bool_value = said
    else:
        value.struct_value.update({"numerator": round(said * _MILLION), "denominator": "MILLION"})
    return delimited(_FIELDS, delimited(1, key.encode()) + delimited(2, serialize(value)))


def _value(route: str, service: str, share: int) -> bytes:
    key = f"{runtime_prefix(route)}.{service}".encode()
    value = serialize(struct_pb2.Value(number_value=share))
    return delimited(_FIELDS, delimited(1, key) + delimited(2, value))
