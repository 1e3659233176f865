"""What the keys below a prefix add up to: the one place where it is decided who is in use.

When more than a share of a service's instances fall at once, by their leases or by their checks,
rather the one who looks is wrong than all of them: those that fell are kept in use. At once means
that nobody has made sure yet that they fell alone: until then there is a copy of the registration,
`KNOWN`. So the decision follows from what is stored, alike for whoever reads it, and no clock and
no leader is needed for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from moreton.registry.core.changes import (
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstanceUpdated,
)
from moreton.registry.core.checks import Care
from moreton.registry.core.documents import CARE, decode_care, parse_key
from moreton.registry.core.fold.record import Common, Record
from moreton.registry.core.instance import Instance, InstanceId
from moreton.store.core.model import KeyValue, WatchBatch

# Of fewer a single one is too large a share to tell a mass failure from a death.
PROTECTED_MIN = 3


@dataclass(slots=True)
class _Service:
    records: dict[InstanceId, Record] = field(default_factory=dict)
    up: set[InstanceId] = field(default_factory=set)
    fallen: set[InstanceId] = field(default_factory=set)
    common: Common = field(default_factory=Common)
    protected: bool = False

    def note(self, instance_id: InstanceId) -> None:
        """Count the instance anew."""
        record = self.records[instance_id]
        fell = record.is_fallen()
        (self.fallen.add if fell else self.fallen.discard)(instance_id)
        is_up = not fell and record.is_up()
        (self.up.add if is_up else self.up.discard)(instance_id)

    def judge(self) -> bool:
        """Decide whether too many fell; whether that is another answer than before."""
        before, total = self.protected, len(self.up) + len(self.fallen)
        self.protected = (
            total >= PROTECTED_MIN and len(self.fallen) > self.common.care.protect * total
        )
        return self.protected is not before

    def effective(self, instance_id: InstanceId) -> Instance | None:
        record = self.records.get(instance_id)
        if record is None:
            return None
        if self.protected and instance_id in self.fallen:
            return record.kept()
        return record.effective()


class Fold:
    """The instances that the keys below a prefix add up to."""

    def __init__(self, kvs: Iterable[KeyValue] = ()) -> None:
        self._services: dict[str, _Service] = {}
        self._instances: dict[tuple[str, InstanceId], Instance] = {}
        self._settle([who for kv in kvs for who in self._take(kv, is_there=True)])

    def instances(self) -> tuple[Instance, ...]:
        """The effective instances, in order of service and id."""
        # Keys order "shop-a/" before "shop/".
        return tuple(instance for _, instance in sorted(self._instances.items()))

    def of(self, service: str) -> Mapping[InstanceId, Record]:
        """All that is said of the instances of *service*."""
        found = self._services.get(service)
        return {} if found is None else found.records

    def fallen(self, service: str) -> frozenset[InstanceId]:
        """Those that fell and may have done so together."""
        found = self._services.get(service)
        return frozenset() if found is None else frozenset(found.fallen)

    def up(self, service: str) -> frozenset[InstanceId]:
        """Those in use that did not fall."""
        found = self._services.get(service)
        return frozenset() if found is None else frozenset(found.up)

    def is_protected(self, service: str) -> bool:
        """Whether those that fell are kept in use."""
        found = self._services.get(service)
        return found is not None and found.protected

    def services(self) -> tuple[str, ...]:
        """Of which anything is said, in order."""
        return tuple(sorted(self._services))

    def apply(self, batch: WatchBatch) -> list[InstanceChange]:
        """What all that one revision changed means: at most one change for each instance.

        As a whole, since what is half told may look like what never was: the health of an
        instance that ends together with its registration is no recovery.
        """
        touched = [
            who
            for event in batch.events
            for who in self._take(event.kv, is_there=event.kind == "put")
        ]
        return [_change(batch.revision, *each) for each in self._settle(touched)]

    def _take(self, kv: KeyValue, *, is_there: bool) -> list[tuple[str, InstanceId]]:
        """Note what is said now; of whom."""
        place = parse_key(kv.key)
        service = self._services.setdefault(place.service, _Service())
        if not place.id:
            if place.part != CARE:
                return []
            care = decode_care(kv.value) if is_there else Care()
            service.common.care, service.common.revision = care, kv.mod_revision
            return [(place.service, each) for each in (*service.records, place.id)]
        record = service.records.setdefault(place.id, Record(service.common))
        record.take(place.part, kv.value if is_there else None, kv.create_revision)
        return [(place.service, place.id)]

    def _settle(
        self, touched: Iterable[tuple[str, InstanceId]]
    ) -> list[tuple[tuple[str, InstanceId], Instance | None, Instance | None]]:
        """What is not as it was: who, before, after."""
        names: dict[str, dict[InstanceId, None]] = {}
        for name, instance_id in touched:
            names.setdefault(name, {})[instance_id] = None
        changed = []
        for name, ids in names.items():
            service = self._services[name]
            for instance_id in ids:
                if instance_id in service.records:
                    service.note(instance_id)
            if service.judge():
                ids.update(dict.fromkeys(sorted(service.fallen)))
            for instance_id in ids:
                before, after = self._replace(name, instance_id, service.effective(instance_id))
                if before != after:
                    changed.append(((name, instance_id), before, after))
            self._tidy(name, ids)
        return changed

    def _replace(
        self, name: str, instance_id: InstanceId, after: Instance | None
    ) -> tuple[Instance | None, Instance | None]:
        before = self._instances.pop((name, instance_id), None)
        if after is not None:
            self._instances[name, instance_id] = after
        return before, after

    def _tidy(self, name: str, ids: Iterable[InstanceId]) -> None:
        """Forget what nothing is said of any more."""
        service = self._services[name]
        for instance_id in ids:
            record = service.records.get(instance_id)
            if record is not None and record.is_empty():
                del service.records[instance_id]
        if not service.records and service.common.care == Care():
            del self._services[name]


def _change(
    revision: int, who: tuple[str, InstanceId], before: Instance | None, after: Instance | None
) -> InstanceChange:
    if after is None:
        return InstanceRemoved(revision, *who, before)
    if before is None:
        return InstanceRegistered(revision, after)
    return InstanceUpdated(revision, after, before)
