"""Instances and their checks as the bytes that are sent: each made once, however many ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from moreton.registry.consul.core.shapes import (
    Document,
    NodeNames,
    Row,
    catalog_document,
    checks_of,
    health_document,
    is_passing,
)
from moreton.registry.consul.messages import encode_json

Kind: TypeAlias = Literal["catalog", "health"]
_Who: TypeAlias = tuple[str, str]
_MAKERS: Mapping[Kind, Callable[[Row, NodeNames], Document]] = {
    "catalog": catalog_document,
    "health": health_document,
}


class ShownCheck(NamedTuple):
    """A check, and its status."""

    body: bytes
    status: str


class Shown:
    """What is sent of rows; of a row that is not the one before it is made anew."""

    def __init__(self, node: NodeNames) -> None:
        self._node = node
        self._instances: dict[tuple[_Who, Kind], tuple[Row, bytes]] = {}
        self._checks: dict[_Who, tuple[Row, tuple[ShownCheck, ...], bool]] = {}

    def instance(self, row: Row, kind: Kind) -> bytes:
        """The instance as `catalog/service` or `health/service` shows it."""
        who = (row.instance.service, row.instance.id)
        found = self._instances.get((who, kind))
        if found is not None and found[0] is row:
            return found[1]
        body = encode_json(_MAKERS[kind](row, self._node))
        self._instances[who, kind] = (row, body)
        return body

    def checks(self, row: Row) -> tuple[ShownCheck, ...]:
        """Its checks."""
        return self._checks_of(row)[1]

    def is_passing(self, row: Row) -> bool:
        """Whether all of its checks pass."""
        return self._checks_of(row)[2]

    def forget(self, service: str, instance_id: str) -> None:
        """The instance is not there any more."""
        who = (service, instance_id)
        self._checks.pop(who, None)
        for kind in _MAKERS:
            self._instances.pop((who, kind), None)

    def _checks_of(self, row: Row) -> tuple[Row, tuple[ShownCheck, ...], bool]:
        who = (row.instance.service, row.instance.id)
        found = self._checks.get(who)
        if found is None or found[0] is not row:
            documents = checks_of(row, self._node)
            shown = tuple(ShownCheck(encode_json(each), each["Status"]) for each in documents)
            found = self._checks[who] = (row, shown, is_passing(documents))
        return found


def json_list(bodies: Iterable[bytes]) -> bytes:
    """The JSON list of what is JSON already."""
    return b"[" + b",".join(bodies) + b"]"
