"""One running copy of a service: the value, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NewType

from moreton.kernel.quantities import format_duration
from moreton.registry.core.checks import Check
from moreton.registry.core.checks.values import checks_faults
from moreton.registry.core.errors import InstanceNotValid
from moreton.registry.core.faults import (
    address_faults,
    id_faults,
    metadata_faults,
    port_faults,
    ports_faults,
    service_faults,
    tag_faults,
    text_faults,
    weight_faults,
)
from moreton.registry.core.standing import (
    Health,
    InstanceKind,
    InstanceSource,
    InstanceState,
    Order,
)

InstanceId = NewType("InstanceId", str)

# Below a second, one lost packet ends a lease; above a day it no longer says who is alive.
TTL_MIN = timedelta(seconds=1)
TTL_MAX = timedelta(days=1)
TTL_DEFAULT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Instance:
    """A copy of *service* that answers at *address*:*port*; *weight* is relative to the others.

    *ports* are further ones by name. *state* is what the instance says of itself when it is
    registered, and what counts once it was folded with its *order* and its *health* (see
    `moreton.registry.core.fold`); then *reason* says, for people, why it is out, or why it is
    *kept* in use though it fell.

    Raises `InstanceNotValid` with everything that is wrong.
    """

    id: InstanceId
    service: str
    address: str
    port: int
    zone: str = ""
    weight: int = 1
    version: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    state: InstanceState = InstanceState.SERVING
    ports: Mapping[str, int] = field(default_factory=dict)
    kind: InstanceKind = InstanceKind.EPHEMERAL
    source: InstanceSource = InstanceSource.HTTP
    checks: tuple[Check, ...] = ()
    reason: str = ""
    order: Order | None = None
    health: Health | None = None
    kept: bool = False

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InstanceNotValid(faults)

    @property
    def endpoint(self) -> str:
        """`address:port`, with an IPv6 address in brackets."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def check_service_name(name: str) -> None:
    """Raises `InstanceNotValid` if *name* is not an RFC 1123 label."""
    faults = list(service_faults(name))
    if faults:
        raise InstanceNotValid(faults)


def check_ttl(ttl: timedelta) -> None:
    """Raises `InstanceNotValid` if *ttl* is outside [`TTL_MIN`, `TTL_MAX`]."""
    if not TTL_MIN <= ttl <= TTL_MAX:
        shown = format_duration(ttl) if ttl >= timedelta(0) else str(ttl)
        limits = f"{format_duration(TTL_MIN)} to {format_duration(TTL_MAX)}"
        proposal = f"{format_duration(TTL_DEFAULT)} suits most services"
        raise InstanceNotValid([f"ttl {shown} is outside {limits}; {proposal}"])


def _faults(instance: Instance) -> Iterator[str]:
    yield from service_faults(instance.service)
    yield from id_faults("instance id", instance.id)
    yield from address_faults(instance.address)
    yield from port_faults(instance.port)
    yield from ports_faults(instance.ports)
    yield from weight_faults(instance.weight)
    yield from text_faults("zone", instance.zone)
    yield from text_faults("version", instance.version)
    yield from tag_faults(instance.tags)
    yield from metadata_faults(instance.metadata)
    yield from checks_faults(instance.checks)
