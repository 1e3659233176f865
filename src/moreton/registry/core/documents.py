"""An instance as the bytes under its keys, and as the JSON of the API: the same form.

An instance has a few keys, all below one prefix, so that one watch sees all that is said of it
in order: `/moreton/instances/SERVICE/ID` is the registration, `…/health` what checks found (both
on its lease, if it has one), `…/report/CHECK` what it reported itself (on a lease of that check),
`…/order` an order to it, `…/known` its registration once more, without a lease.
`/moreton/instances/SERVICE//care` is what is done for all instances of the service.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from moreton.registry.core.checks import Care, Check
from moreton.registry.core.checks.documents import check_document, read_check
from moreton.registry.core.errors import InstanceNotValid
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import (
    CheckResult,
    CheckStatus,
    Health,
    InstanceKind,
    InstanceSource,
    InstanceState,
    Order,
)

PREFIX = b"/moreton/instances/"
REGISTRATION = ""
HEALTH = "health"
ORDER = "order"
KNOWN = "known"
REPORT = "report"
CARE = "care"
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, InstanceNotValid)
_DECODED: WeakValueDictionary[bytes, Instance] = WeakValueDictionary()
# Zones, versions, tags: few words of many instances.
_WORDS: dict[str, str] = {}
_WORDS_KEPT = 4096
_EnumT = TypeVar("_EnumT", bound=StrEnum)


class InstanceKey(NamedTuple):
    """What a key under `PREFIX` is about: a *part* of what is said of an instance."""

    service: str
    id: InstanceId
    part: str


def service_prefix(service: str) -> bytes:
    """What the keys of all instances of *service* begin with."""
    return PREFIX + service.encode() + b"/"


def instance_key(service: str, instance_id: str, part: str = REGISTRATION) -> bytes:
    """Where an instance lies in the store, or *part* of what is said of it."""
    ending = f"/{part}" if part else ""
    return service_prefix(service) + f"{instance_id}{ending}".encode()


def parse_key(key: bytes) -> InstanceKey:
    """What a key under `PREFIX` is about."""
    text = key.removeprefix(PREFIX).decode(errors="replace")
    service, _, rest = text.partition("/")
    instance_id, _, part = rest.partition("/")
    return InstanceKey(service, InstanceId(instance_id), part)


def to_document(instance: Instance) -> dict[str, Any]:
    """The instance as JSON values, with what others say of it."""
    return {
        **_basics(instance),
        "ports": dict(instance.ports),
        "kind": instance.kind.value,
        "source": instance.source.value,
        "reason": instance.reason,
        "order": None if instance.order is None else order_document(instance.order),
        "health": None if instance.health is None else health_document(instance.health),
        "checks": [check_document(each) for each in instance.checks],
        "kept": instance.kept,
    }


def registration_document(instance: Instance) -> dict[str, Any]:
    """What the instance says of itself: what is registered.

    Without what is as usual, so that what does not use the newer fields is read by those who do
    not know them.
    """
    document = _basics(instance)
    if instance.ports:
        document["ports"] = dict(instance.ports)
    if instance.kind is not InstanceKind.EPHEMERAL:
        document["kind"] = instance.kind.value
    if instance.source is not InstanceSource.HTTP:
        document["source"] = instance.source.value
    if instance.checks:
        document["checks"] = [check_document(each) for each in instance.checks]
    return document


def encode(instance: Instance) -> bytes:
    """The value in the store: equal registrations have equal bytes."""
    return _dump(registration_document(instance))


def decode(value: bytes) -> Instance | None:
    """The instance that `encode` wrote; `None` for what no version of ours wrote.

    Fields that a later version added are ignored: one bad key must not hide the others. The same
    bytes are the same object while anyone has it, so that what many follow is there once.
    """
    known = _DECODED.get(value)
    if known is None:
        known = _decoded(value)
        if known is not None:
            _DECODED[value] = known
    return known


def _decoded(value: bytes) -> Instance | None:
    try:
        found = json.loads(value)
        return Instance(
            id=InstanceId(found["id"]),
            service=_word(found["service"]),
            address=found["address"],
            port=found["port"],
            zone=_word(found.get("zone", "")),
            weight=found.get("weight", 1),
            version=_word(found.get("version", "")),
            tags=tuple(map(_word, found.get("tags", ()))),
            metadata={_word(k): _word(v) for k, v in found.get("metadata", {}).items()},
            state=InstanceState(found.get("state", "serving")),
            ports=dict(found.get("ports", {})),
            kind=_known(InstanceKind, found.get("kind"), InstanceKind.EPHEMERAL),
            source=_known(InstanceSource, found.get("source"), InstanceSource.HTTP),
            checks=tuple(_checks(found.get("checks", ()))),
        )
    except _UNREADABLE:
        return None


def _word(text: str) -> str:
    """*text*, as the one string that all instances have which say it."""
    if len(_WORDS) >= _WORDS_KEPT:
        _WORDS.clear()
    return _WORDS.setdefault(text, text)


def order_document(order: Order) -> dict[str, Any]:
    """The order as JSON values."""
    return {
        "state": order.state.value,
        "reason": order.reason,
        "by": order.by,
        "since": _moment(order.since),
    }


def encode_order(order: Order) -> bytes:
    """The value in the store."""
    return _dump(order_document(order))


def decode_order(value: bytes) -> Order | None:
    """The order that `encode_order` wrote; `None` for anything else."""
    try:
        found = json.loads(value)
        return Order(
            state=InstanceState(found["state"]),
            since=datetime.fromisoformat(found["since"]),
            reason=str(found.get("reason", "")),
            by=str(found.get("by", "")),
        )
    except _UNREADABLE:
        return None


def health_document(health: Health) -> dict[str, Any]:
    """What checks found, as JSON values."""
    return {
        "status": health.status.value,
        "checks": [_result_document(each) for each in health.checks],
    }


def encode_health(health: Health) -> bytes:
    """The value in the store."""
    return _dump(health_document(health))


def decode_health(value: bytes) -> Health | None:
    """What `encode_health` wrote; `None` for anything else."""
    try:
        return Health(tuple(map(_read_result, json.loads(value)["checks"])))
    except _UNREADABLE:
        return None


def encode_report(result: CheckResult) -> bytes:
    """The value in the store."""
    return _dump(_result_document(result))


def decode_report(value: bytes) -> CheckResult | None:
    """What `encode_report` wrote; `None` for anything else."""
    try:
        return _read_result(json.loads(value))
    except _UNREADABLE:
        return None


def encode_care(care: Care) -> bytes:
    """The value in the store."""
    checks = [check_document(each) for each in care.checks]
    return _dump({"checks": checks, "protect": care.protect})


def decode_care(value: bytes) -> Care:
    """What `encode_care` wrote; as usual for anything else."""
    try:
        found = json.loads(value)
        return Care(tuple(_checks(found["checks"])), float(found["protect"]))
    except _UNREADABLE:
        return Care()


def _result_document(result: CheckResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "status": result.status.value,
        "since": None if result.since is None else _moment(result.since),
        "output": result.output,
    }


def _read_result(document: Mapping[str, Any]) -> CheckResult:
    since = document["since"]
    return CheckResult(
        id=str(document["id"]),
        status=CheckStatus(document["status"]),
        since=None if since is None else datetime.fromisoformat(since),
        output=str(document.get("output", "")),
    )


def _basics(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.id,
        "service": instance.service,
        "address": instance.address,
        "port": instance.port,
        "zone": instance.zone,
        "weight": instance.weight,
        "version": instance.version,
        "tags": list(instance.tags),
        "metadata": dict(instance.metadata),
        "state": instance.state.value,
    }


def _checks(documents: Iterable[Any]) -> Iterator[Check]:
    """A check that a later version added is no reason not to find an instance."""
    for document in documents:
        with contextlib.suppress(*_UNREADABLE):
            yield read_check(document)


def _known(kind: type[_EnumT], value: object, otherwise: _EnumT) -> _EnumT:
    """A word that a later version added is no reason not to find an instance."""
    try:
        return kind(str(value))
    except ValueError:
        return otherwise


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
