"""What happened to instances, as events that people can read a day later."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from moreton.registry.core.changes import (
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
)
from moreton.registry.core.instance import Instance, InstanceId

PREFIX = b"/moreton/events/"
# How far the events have been written: a revision of the store.
POSITION = b"/moreton/events-position"
# Beside the registrations, and before them in order, so that one watch sees both: who left of
# itself, written together with the end of its registration. Other watches do not see it.
LEFT = b"/moreton/instances-left"
_FIELDS = ("address", "port", "zone", "weight", "version", "tags", "metadata", "ports", "kind")


class EventKind(StrEnum):
    """What happened."""

    REGISTERED = "registered"
    UPDATED = "updated"
    LEFT = "left"  # it, or someone for it, ended its registration
    LEASE_ENDED = "lease-ended"  # nobody renewed it
    CRITICAL = "critical"
    BACK = "back"  # its checks pass again
    ORDER_SET = "order-set"
    ORDER_CLEARED = "order-cleared"
    DRAINED = "drained"  # nothing is sent to it, and nothing is under way
    PROTECTED = "protected"  # too many fell at once: all that were known last are kept
    UNPROTECTED = "unprotected"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an instance, or with no *id* to a service; *by* whom, and why."""

    at: datetime
    kind: EventKind
    service: str
    id: str = ""
    address: str = ""
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """Who ended the registration of an instance, and why."""

    service: str
    id: str
    by: str = ""
    why: str = ""


def events_of(change: InstanceChange, at: datetime, left: Left | None = None) -> Iterator[Event]:
    """What *change* means, *at* that time; *left* is who left at the same revision."""
    match change:
        case InstancesListed():
            return
        case InstanceRegistered(_, instance):
            yield _event(EventKind.REGISTERED, instance, at, by=instance.source)
            if instance.order is not None:
                yield _order_set(instance, at)
        case InstanceUpdated(_, instance, previous):
            yield from _updates(instance, previous, at)
        case InstanceRemoved(_, service, instance_id, previous):
            yield _removed(service, instance_id, previous, at, left)


def _updates(instance: Instance, previous: Instance, at: datetime) -> Iterator[Event]:
    changed = [x for x in _FIELDS if getattr(instance, x) != getattr(previous, x)]
    if changed:
        why = f"another {', '.join(changed)}"
        yield _event(EventKind.UPDATED, instance, at, by=instance.source, why=why)
    if instance.order != previous.order:
        if instance.order is not None:
            yield _order_set(instance, at)
        elif previous.order is not None:
            why = f"{previous.order.state} is over"
            yield _event(EventKind.ORDER_CLEARED, instance, at, why=why)
    failed = None if instance.health is None else instance.health.critical()
    had = None if previous.health is None else previous.health.critical()
    if failed is not None and had is None:
        why = f"check {failed.id}: {failed.output}"
        yield _event(EventKind.CRITICAL, instance, at, by="checks", why=why)
    elif failed is None and had is not None:
        yield _event(EventKind.BACK, instance, at, by="checks", why=f"check {had.id} passes")
    ordered = instance.order is not None or previous.order is not None
    if instance.state is not previous.state and not (ordered or failed or had):
        why = f"it says that it is {instance.state}, it was {previous.state}"
        yield _event(EventKind.UPDATED, instance, at, by=instance.source, why=why)


def _order_set(instance: Instance, at: datetime) -> Event:
    order = instance.order
    assert order is not None
    why = order.state + (f": {order.reason}" if order.reason else "")
    return _event(EventKind.ORDER_SET, instance, at, by=order.by, why=why)


def _removed(
    service: str,
    instance_id: InstanceId,
    previous: Instance | None,
    at: datetime,
    left: Left | None,
) -> Event:
    address = "" if previous is None else previous.endpoint
    if left is not None and (left.service, left.id) == (service, instance_id):
        return Event(at, EventKind.LEFT, service, instance_id, address, left.by, left.why)
    why = "it did not renew"
    return Event(at, EventKind.LEASE_ENDED, service, instance_id, address, why=why)


def _event(
    kind: EventKind, instance: Instance, at: datetime, *, by: str = "", why: str = ""
) -> Event:
    return Event(at, kind, instance.service, instance.id, instance.endpoint, by, why)


def event_key(at: datetime, ending: str) -> bytes:
    """Where events of that time lie, in order of time; *ending* tells them from others."""
    return time_key(at) + f"-{ending}".encode()


def time_key(at: datetime) -> bytes:
    """What comes after every key of an earlier time, and before those of that time."""
    return PREFIX + f"{max(0, round(at.timestamp() * 1000)):013d}".encode()


def to_document(event: Event) -> dict[str, Any]:
    """The event as JSON values."""
    return {
        "at": event.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "kind": event.kind.value,
        "service": event.service,
        "id": event.id,
        "address": event.address,
        "by": event.by,
        "why": event.why,
    }


def encode(events: Iterable[Event]) -> bytes:
    """Events as one value in the store."""
    found = [{k: v for k, v in to_document(each).items() if v} for each in events]
    return json.dumps(found, separators=(",", ":")).encode()


def decode(value: bytes) -> list[Event]:
    """The events that `encode` wrote, without those for which a later version has a new word."""
    try:
        found = json.loads(value)
    except ValueError:
        return []
    return [each for each in map(_decode, found if isinstance(found, list) else ()) if each]


def _decode(found: Any) -> Event | None:
    try:
        return Event(
            datetime.fromisoformat(found["at"]),
            EventKind(found["kind"]),
            *(str(found.get(x, "")) for x in ("service", "id", "address", "by", "why")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def encode_left(left: Left) -> bytes:
    """The value at `LEFT`."""
    found = {"service": left.service, "id": left.id, "by": left.by, "why": left.why}
    return json.dumps(found, separators=(",", ":")).encode()


def decode_left(value: bytes) -> Left | None:
    """What `encode_left` wrote; `None` for anything else."""
    try:
        found = json.loads(value)
        return Left(*(str(found.get(x, "")) for x in ("service", "id", "by", "why")))
    except (ValueError, AttributeError):
        return None
