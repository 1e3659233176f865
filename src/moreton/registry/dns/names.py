"""What a name asks for: pure text, no DNS library.

Source: Consul, "DNS reference", for the forms; RFC 2782 for `_service._proto`; RFC 1035, section
3.5, and RFC 3596, section 2.5, for reverse names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from moreton.registry.core.changes import IpAddress

NAMESERVER_LABEL = "ns"
# In `_orders._tcp` the second label is a protocol, which says nothing here; else it is a tag.
_PROTOCOLS = frozenset({"_tcp", "_udp"})
_V4_HEX_DIGITS = 8
_V6_HEX_DIGITS = 32
_V4_LABELS = 4
_V6_LABELS = 32


@dataclass(frozen=True, slots=True)
class ServiceName:
    """The instances of *service*; of those only what has *tag*, and what is in *zone*."""

    service: str
    tag: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class AddressName:
    """A name that says its own address."""

    address: IpAddress


@dataclass(frozen=True, slots=True)
class ReverseName:
    """Who is at *address*."""

    address: IpAddress


@dataclass(frozen=True, slots=True)
class Apex:
    """The domain itself."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """The server's own name."""


@dataclass(frozen=True, slots=True)
class NoName:
    """A name below the domain that can never be."""


@dataclass(frozen=True, slots=True)
class ForeignName:
    """A name that is not the server's."""


AskedName: TypeAlias = (
    ServiceName | AddressName | ReverseName | Apex | NameServer | NoName | ForeignName
)


def read_name(labels: Sequence[str], domains: Sequence[str]) -> tuple[AskedName, str]:
    """What *labels*, in lower case and without the root, ask for; and the domain they are in.

    The domain of a reverse or foreign name is empty. *domains* are in lower case, too.
    """
    reverse = _reverse(labels)
    if reverse is not None:
        return reverse, ""
    for domain in domains:
        parts = domain.split(".")
        if list(labels[-len(parts) :]) == parts:
            return _own(labels[: -len(parts)]), domain
    return ForeignName(), ""


def address_label(address: str) -> str:
    """The first label of the `AddressName` of *address*: its bytes in hexadecimal."""
    return ip_address(address).packed.hex()


def _own(labels: Sequence[str]) -> AskedName:
    if not labels:
        return Apex()
    return NameServer() if list(labels) == [NAMESERVER_LABEL] else _below(labels)


def _below(labels: Sequence[str]) -> AskedName:
    match list(labels):
        case [digits, "addr"] | [digits, "addr", _]:
            return _address(digits)
        case [service, kind, *rest] if service.startswith("_") and kind.startswith("_"):
            return _rfc_2782(service, kind, rest)
        case [*before, "service"] if before:
            return _service(before, None)
        case [*before, "service", zone] if before:
            return _service(before, zone)
        case _:
            return NoName()


def _service(before: Sequence[str], zone: str | None) -> ServiceName:
    """*before* is `[tag.]service`; a tag may have dots."""
    *tag, service = before
    return ServiceName(service, ".".join(tag) or None, zone)


def _rfc_2782(service: str, kind: str, rest: Sequence[str]) -> AskedName:
    tag = None if kind in _PROTOCOLS else kind[1:]
    match list(rest):
        case [] | ["service"]:
            return ServiceName(service[1:], tag)
        case ["service", zone]:
            return ServiceName(service[1:], tag, zone)
        case _:
            return NoName()


def _address(digits: str) -> AskedName:
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        return NoName()
    if len(digits) not in {_V4_HEX_DIGITS, _V6_HEX_DIGITS}:
        return NoName()
    return AddressName(ip_address(packed))


def _reverse(labels: Sequence[str]) -> ReverseName | None:
    try:
        match list(labels):
            case [*parts, "in-addr", "arpa"] if len(parts) == _V4_LABELS:
                return ReverseName(IPv4Address(".".join(reversed(parts))))
            case [*parts, "ip6", "arpa"] if len(parts) == _V6_LABELS:
                packed = bytes.fromhex("".join(reversed(parts)))
                return ReverseName(IPv6Address(packed))
            case _:
                return None
    except ValueError:
        return None
