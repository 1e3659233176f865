"""Which object is in force where: pending, applied to n of m proxies, or rejected and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from moreton.envoy.core.delivery import Applied, Effect, Gone, Rejected
from moreton.envoy.core.resources import ResourceKey


class ObjectState(StrEnum):
    """How far an object has come."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """One object over all proxies of its group."""

    state: ObjectState
    applied: int
    proxies: int
    version: str
    reason: str = ""

    def __str__(self) -> str:
        """`pending`, `applied 1/1` or `rejected: why`."""
        if self.state is ObjectState.REJECTED:
            return f"rejected: {self.reason}"
        if self.state is ObjectState.APPLIED:
            return f"applied {self.applied}/{self.proxies}"
        return "pending"


@dataclass(slots=True)
class ProxyStatus:
    """One connected proxy."""

    node: str
    group: str
    versions: dict[ResourceKey, str] = field(default_factory=dict)  # applied
    rejected: dict[ResourceKey, tuple[str, str]] = field(default_factory=dict)  # version, reason
    acks: int = 0
    nacks: int = 0

    def count(self, effect: Effect) -> None:
        """Take in what became of a resource on this proxy."""
        match effect:
            case Applied(resource=resource):
                self.versions[resource.key] = resource.version
                self.rejected.pop(resource.key, None)
                self.acks += 1
            case Gone(key=key):
                self.versions.pop(key, None)
                self.rejected.pop(key, None)
            case Rejected(resource=resource, reason=reason):
                self.rejected[resource.key] = (resource.version, reason)
                self.nacks += 1
            case _:
                pass


def judge(proxies: list[ProxyStatus], key: ResourceKey, version: str) -> ObjectStatus:
    """The status of *version* of *key* over *proxies*."""
    applied = sum(proxy.versions.get(key) == version for proxy in proxies)
    for proxy in proxies:
        refused, reason = proxy.rejected.get(key, ("", ""))
        if refused == version:
            return ObjectStatus(ObjectState.REJECTED, applied, len(proxies), version, reason)
    done = bool(proxies) and applied == len(proxies)
    state = ObjectState.APPLIED if done else ObjectState.PENDING
    return ObjectStatus(state, applied, len(proxies), version)
