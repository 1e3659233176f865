"""Who a client is by its address, when proxies are between."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Literal

Network = IPv4Network | IPv6Network
# A proxy that comes over a Unix socket, where a server tells no address of who connects.
UNIX: Final = "unix"
Trusted = Network | Literal["unix"]
# One customer has all of such a network.
V6_BITS = 64
_MAPPED_BITS = 96  # of ::ffff:0:0/96, before an address of IPv4
_HOPS_MAX = 100
_PARSED_REMEMBERED = 4096


def trusted_proxies(texts: Sequence[str]) -> tuple[Trusted, ...]:
    """The networks that *texts* name, and `unix` as it is; raises `ValueError`."""
    if isinstance(texts, str):
        raise TypeError(f"trusted is {texts!r}: give networks, as ['10.0.0.0/8']")
    return tuple(UNIX if text == UNIX else unmapped(ip_network(text)) for text in texts)


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Trusted]) -> str:
    """The address of the client of a connection from *peer* with X-Forwarded-For *forwarded*.

    Read from its end: each *trusted* proxy wrote whom it was asked by, and the first address that
    is none of theirs is the client. What stands before that anyone may have written.
    """
    address = peer
    for hop in reversed(forwarded[-_HOPS_MAX:]):
        if not _is_trusted(address, trusted):
            break
        address = hop.strip()
    return address


def key_of(address: str, v6_bits: int = V6_BITS) -> str:
    """*address* as a key: an IPv6 address stands for its network of *v6_bits*."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed), v6_bits), strict=False))
    return str(parsed) if parsed is not None else address


def unmapped(network: Network) -> Network:
    """*network*, or that of IPv4 which stands in it: clients have no mapped addresses here."""
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= _MAPPED_BITS:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _is_trusted(address: str, trusted: Sequence[Trusted]) -> bool:
    if not address:
        return UNIX in trusted
    parsed = parse_address(address)
    known = (network for network in trusted if not isinstance(network, str))
    return parsed is not None and any(parsed in network for network in known)


@functools.lru_cache(_PARSED_REMEMBERED)
def parse_address(address: str) -> IPv4Address | IPv6Address | None:
    """*address*, without a port that may be there; `None` for what is none.

    One of IPv4 is that wherever it stands: a socket for both kinds tells `::ffff:192.0.2.7`.
    """
    text = address.strip()
    if text.startswith("["):
        text = text[1:].split("]", 1)[0]
    elif text.count(":") == 1:
        text = text.split(":", 1)[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
