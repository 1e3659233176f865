"""What counts of an instance, of all that is said of it: the one place where that is decided.

An order comes before failed health, and that before what the instance says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from moreton.registry.core.changes import (
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstanceUpdated,
)
from moreton.registry.core.documents import (
    HEALTH,
    ORDER,
    REGISTRATION,
    InstanceKey,
    decode,
    decode_health,
    decode_order,
    parse_key,
)
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import Health, InstanceState, Order
from moreton.store.core.model import KeyValue, WatchBatch


@dataclass(slots=True)
class Record:
    """All that is said of one instance; *registration* is what it says itself."""

    registration: Instance | None = None
    health: Health | None = None
    order: Order | None = None

    def effective(self) -> Instance | None:
        """The instance as everybody is to see it; `None` while it is not registered."""
        own = self.registration
        if own is None or (self.order is None and self.health is None):
            return own
        state, reason = own.state, ""
        failed = None if self.health is None else self.health.critical()
        if self.order is not None:
            state, reason = self.order.state, _ordered(self.order)
        elif failed is not None:
            state, reason = InstanceState.CRITICAL, f"check {failed.id}: {failed.output}"
        return replace(own, state=state, reason=reason, order=self.order, health=self.health)

    def take(self, part: str, value: bytes | None) -> None:
        """*value* is now what is said in *part*; `None`: nothing."""
        if part == REGISTRATION:
            self.registration = None if value is None else decode(value)
        elif part == HEALTH:
            self.health = None if value is None else decode_health(value)
        elif part == ORDER:
            self.order = None if value is None else decode_order(value)

    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return self.registration is None and self.health is None and self.order is None


class Fold:
    """The instances that the keys below a prefix add up to."""

    def __init__(self, kvs: Iterable[KeyValue] = ()) -> None:
        self._records: dict[tuple[str, InstanceId], Record] = {}
        self._instances: dict[tuple[str, InstanceId], Instance] = {}
        for kv in kvs:
            key = parse_key(kv.key)
            self._record(key).take(key.part, kv.value)
        for who in list(self._records):
            self._settle(who)

    def instances(self) -> tuple[Instance, ...]:
        """The effective instances, in order of service and id."""
        # Keys order "shop-a/" before "shop/".
        return tuple(instance for _, instance in sorted(self._instances.items()))

    def apply(self, batch: WatchBatch) -> list[InstanceChange]:
        """What all that one revision changed means: at most one change for each instance.

        As a whole, since what is half told may look like what never was: the health of an
        instance that ends together with its registration is no recovery.
        """
        touched: dict[tuple[str, InstanceId], None] = {}
        for event in batch.events:
            key = parse_key(event.kv.key)
            value = event.kv.value if event.kind == "put" else None
            self._record(key).take(key.part, value)
            touched[key.service, key.id] = None
        changes = (self._change(who, batch.revision) for who in touched)
        return [change for change in changes if change is not None]

    def _record(self, key: InstanceKey) -> Record:
        return self._records.setdefault((key.service, key.id), Record())

    def _change(self, who: tuple[str, InstanceId], revision: int) -> InstanceChange | None:
        before = self._instances.get(who)
        after = self._settle(who)
        if after is None:
            return None if before is None else InstanceRemoved(revision, *who, before)
        if before is None:
            return InstanceRegistered(revision, after)
        return None if before == after else InstanceUpdated(revision, after, before)

    def _settle(self, who: tuple[str, InstanceId]) -> Instance | None:
        record = self._records[who]
        effective = record.effective()
        if effective is None:
            self._instances.pop(who, None)
        else:
            self._instances[who] = effective
        if record.is_empty():
            del self._records[who]
        return effective


def _ordered(order: Order) -> str:
    by = f" by {order.by}" if order.by else ""
    why = f": {order.reason}" if order.reason else ""
    return f"{order.state} ordered{by}{why}"
