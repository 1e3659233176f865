"""Instances and their checks as the bytes that are sent: each made once, however many ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from moreton.registry.consul.core.shapes import (
    NodeNames,
    Row,
    catalog_document,
    checks_of,
    health_document,
    is_passing,
)
from moreton.registry.consul.messages import encode_json

_Who: TypeAlias = tuple[str, str]


class ShownCheck(NamedTuple):
    """A check, and its status."""

    body: bytes
    status: str


class _ShownHealth(NamedTuple):
    row: Row
    body: bytes
    is_passing: bool


class Shown:
    """What is sent of rows; of a row that is not the one before it is made anew."""

    def __init__(self, node: NodeNames) -> None:
        self._node = node
        self._catalog: dict[_Who, tuple[Row, bytes]] = {}
        self._health: dict[_Who, _ShownHealth] = {}
        self._checks: dict[_Who, tuple[Row, tuple[ShownCheck, ...]]] = {}

    def catalog(self, row: Row) -> bytes:
        """The instance as `catalog/service` shows it."""
        who = _who(row)
        found = self._catalog.get(who)
        if found is None or found[0] is not row:
            found = self._catalog[who] = (row, encode_json(catalog_document(row, self._node)))
        return found[1]

    def health(self, row: Row) -> bytes:
        """The instance as `health/service` shows it."""
        return self._health_of(row).body

    def is_passing(self, row: Row) -> bool:
        """Whether all of its checks pass."""
        return self._health_of(row).is_passing

    def checks(self, row: Row) -> tuple[ShownCheck, ...]:
        """Its checks."""
        who = _who(row)
        found = self._checks.get(who)
        if found is None or found[0] is not row:
            documents = checks_of(row, self._node)
            shown = tuple(ShownCheck(encode_json(each), each["Status"]) for each in documents)
            found = self._checks[who] = (row, shown)
        return found[1]

    def forget(self, service: str, instance_id: str) -> None:
        """The instance is not there any more."""
        who = (service, instance_id)
        self._catalog.pop(who, None)
        self._health.pop(who, None)
        self._checks.pop(who, None)

    def _health_of(self, row: Row) -> _ShownHealth:
        who = _who(row)
        found = self._health.get(who)
        if found is None or found.row is not row:
            document = health_document(row, self._node)
            body, passes = encode_json(document), is_passing(document["Checks"])
            found = self._health[who] = _ShownHealth(row, body, passes)
        return found


def _who(row: Row) -> _Who:
    return row.instance.service, row.instance.id


def json_list(bodies: Iterable[bytes]) -> bytes:
    """The JSON list of what is JSON already."""
    return b"[" + b",".join(bodies) + b"]"
