"""One running copy of a service: the value, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import NewType

from moreton.kernel.quantities import format_duration
from moreton.registry.core.errors import InstanceNotValid

InstanceId = NewType("InstanceId", str)

# A label of a host name (RFC 1123, section 2.1; RFC 1035 gives the 63), so that each service can
# be a name in DNS.
_SERVICE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,127})")
_PORT_MAX = 65_535
# The weight of an SRV record has 16 bits (RFC 2782).
_WEIGHT_MAX = 65_535
# Consul's limits on metadata, so that what fits there fits here.
_METADATA_PAIRS_MAX = 64
_METADATA_KEY_CHARS_MAX = 128
_METADATA_VALUE_CHARS_MAX = 512
_TAGS_MAX = 64
_TEXT_CHARS_MAX = 255

# Below a second, one lost packet ends a lease; above a day it no longer says who is alive.
TTL_MIN = timedelta(seconds=1)
TTL_MAX = timedelta(days=1)
TTL_DEFAULT = timedelta(seconds=10)


class InstanceState(StrEnum):
    """What an instance is doing; only a serving one is sent requests."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Instance:
    """A copy of *service* that answers at *address*:*port*; *weight* is relative to the others.

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
    faults = list(_service_faults(name))
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
    yield from _service_faults(instance.service)
    if not _ID.fullmatch(instance.id):
        yield (
            f"instance id {instance.id!r} is not valid; use 1 to 128 letters, digits and . _ : -, "
            "beginning with a letter or digit"
        )
    yield from _address_faults(instance.address)
    yield from _port_faults(instance.port)
    if not 0 <= instance.weight <= _WEIGHT_MAX:
        yield f"weight {instance.weight} is outside 0 to {_WEIGHT_MAX}"
    for name, text in (("zone", instance.zone), ("version", instance.version)):
        if len(text) > _TEXT_CHARS_MAX:
            yield f"{name} has {len(text)} characters; at most {_TEXT_CHARS_MAX} are kept"
    yield from _tag_faults(instance.tags)
    yield from _metadata_faults(instance.metadata)


def _service_faults(name: str) -> Iterator[str]:
    if _SERVICE_NAME.fullmatch(name):
        return
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-")
    proposal = f', for example "{plain}"' if plain else ""
    yield (
        f'service name "{name}" is not valid; use 1 to 63 of a-z, 0-9 and -, beginning and '
        f"ending with a letter or digit (RFC 1123){proposal}"
    )


def _address_faults(address: str) -> Iterator[str]:
    try:
        found = ip_address(address)
    except ValueError:
        yield f'address "{address}" is not an IP address; write one like 10.0.0.7 or fd00::7'
        return
    if found.is_unspecified or found.is_multicast:
        yield f"address {address} is not one that requests can be sent to; name the machine's own"
    elif isinstance(found, IPv6Address) and found.scope_id is not None:
        yield f"address {address} has a zone that means nothing on other machines; leave it out"


def _port_faults(port: int) -> Iterator[str]:
    if not 1 <= port <= _PORT_MAX:
        yield f"port {port} is outside 1 to {_PORT_MAX}; name the port that the service listens on"


def _tag_faults(tags: tuple[str, ...]) -> Iterator[str]:
    if len(tags) > _TAGS_MAX:
        yield f"there are {len(tags)} tags; at most {_TAGS_MAX} are kept"
    for tag in tags[:_TAGS_MAX]:
        if not 1 <= len(tag) <= _TEXT_CHARS_MAX:
            yield f"tag {tag[:20]!r} has {len(tag)} characters; use 1 to {_TEXT_CHARS_MAX}"


def _metadata_faults(metadata: Mapping[str, str]) -> Iterator[str]:
    if len(metadata) > _METADATA_PAIRS_MAX:
        yield f"metadata has {len(metadata)} pairs; at most {_METADATA_PAIRS_MAX} are kept"
    for key, value in list(metadata.items())[:_METADATA_PAIRS_MAX]:
        if not 1 <= len(key) <= _METADATA_KEY_CHARS_MAX:
            yield (
                f"metadata key {key[:20]!r} has {len(key)} characters; "
                f"use 1 to {_METADATA_KEY_CHARS_MAX}"
            )
        if len(value) > _METADATA_VALUE_CHARS_MAX:
            yield (
                f"metadata {key[:20]!r} has {len(value)} characters; "
                f"at most {_METADATA_VALUE_CHARS_MAX} are kept"
            )
