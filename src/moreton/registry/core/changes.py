"""What happens to instances, as values, and the view that they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias, assert_never

from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import InstanceState


@dataclass(frozen=True, slots=True)
class InstancesListed:
    """All there is as of *revision*: the start of a watch, and its new start after a gap."""

    revision: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class InstanceRegistered:
    """An instance appeared."""

    revision: int
    instance: Instance


@dataclass(frozen=True, slots=True)
class InstanceUpdated:
    """A registered instance changed; *previous* is how it was."""

    revision: int
    instance: Instance
    previous: Instance


@dataclass(frozen=True, slots=True)
class InstanceRemoved:
    """An instance left, or its lease ended; *instance* is how it was, if that is still known."""

    revision: int
    service: str
    id: InstanceId
    instance: Instance | None


IpAddress: TypeAlias = IPv4Address | IPv6Address
InstanceChange: TypeAlias = InstancesListed | InstanceRegistered | InstanceUpdated | InstanceRemoved


class InstanceView:
    """The instances by service, kept up to date by changes in their order."""

    def __init__(self) -> None:
        self._services: dict[str, dict[InstanceId, Instance]] = {}
        self._versions: dict[str, int] = {}
        self._kept: Counter[str] = Counter()
        self._changes = 0
        self._places: dict[IpAddress, tuple[str, ...]] | None = None

    def apply(self, change: InstanceChange) -> frozenset[str]:
        """Take note of *change*; the services that are not as they were."""
        changed = self._take(change)
        if changed:
            self._changes += 1
            self._places = None
        for service in changed:
            if service in self._services:
                self._versions[service] = self._changes
            else:
                self._versions.pop(service, None)
        return changed

    def version(self, service: str) -> int:
        """A number that differs whenever the instances of *service* do; 0 if it has none."""
        return self._versions.get(service, 0)

    def kept(self) -> Mapping[str, int]:
        """How many instances are kept in use though they fell, of each service that has such."""
        return dict(sorted(self._kept.items()))

    def services_at(self, address: IpAddress) -> tuple[str, ...]:
        """The services that have a serving instance at *address*, in order of names."""
        if self._places is None:
            places: dict[IpAddress, dict[str, None]] = {}
            for service in sorted(self._services):
                for instance in serving(self._services[service].values()):
                    places.setdefault(ip_address(instance.address), {})[service] = None
            self._places = {place: tuple(services) for place, services in places.items()}
        return self._places.get(address, ())

    def _take(self, change: InstanceChange) -> frozenset[str]:
        match change:
            case InstancesListed(_, instances):
                return self._replace(instances)
            case InstanceRegistered(_, instance) | InstanceUpdated(_, instance, _):
                return self._put(instance)
            case InstanceRemoved(_, service, instance_id, _):
                return self._remove(service, instance_id)
            case _:
                assert_never(change)

    def services(self) -> Mapping[str, tuple[Instance, ...]]:
        """Every service that has an instance, in order of names; instances in order of ids."""
        return {service: self.of(service) for service in sorted(self._services)}

    def of(self, service: str) -> tuple[Instance, ...]:
        """The instances of *service* in order of ids."""
        return tuple(instance for _, instance in sorted(self._services.get(service, {}).items()))

    def _replace(self, instances: Sequence[Instance]) -> frozenset[str]:
        before = self._services
        self._services = {}
        self._kept = Counter(each.service for each in instances if each.kept)
        for instance in instances:
            self._services.setdefault(instance.service, {})[instance.id] = instance
        names = before.keys() | self._services.keys()
        return frozenset(name for name in names if before.get(name) != self._services.get(name))

    def _put(self, instance: Instance) -> frozenset[str]:
        instances = self._services.setdefault(instance.service, {})
        before = instances.get(instance.id)
        if before == instance:
            return frozenset()
        instances[instance.id] = instance
        self._count(instance.service, before, instance)
        return frozenset((instance.service,))

    def _remove(self, service: str, instance_id: InstanceId) -> frozenset[str]:
        instances = self._services.get(service, {})
        before = instances.pop(instance_id, None)
        if before is None:
            return frozenset()
        self._count(service, before, None)
        if not instances:
            del self._services[service]
        return frozenset((service,))

    def _count(self, service: str, before: Instance | None, after: Instance | None) -> None:
        was_kept = before is not None and before.kept
        is_kept = after is not None and after.kept
        if was_kept is not is_kept:
            self._kept[service] += 1 if is_kept else -1
            if not self._kept[service]:
                del self._kept[service]


def serving(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """Those to send requests to: serving, with a weight, one per address and port.

    Several processes that share a port, as prefork workers do, may each register it: they are
    one destination. In order of ids.
    """
    distinct: dict[tuple[str, int], Instance] = {}
    for instance in sorted(instances, key=lambda each: each.id):
        if instance.state is InstanceState.SERVING and instance.weight > 0:
            distinct.setdefault((instance.address, instance.port), instance)
    return tuple(distinct.values())
