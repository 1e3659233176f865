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

Network = IPv4Network | IPv6Network
# One customer has all of such a network.
V6_BITS = 64
_HOPS_MAX = 100
_PARSED_REMEMBERED = 4096


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks that *texts* name; raises `ValueError`."""
    if isinstance(texts, str):
        raise TypeError(f"trusted is {texts!r}: give networks, as ['10.0.0.0/8']")
    return tuple(ip_network(text) for text in texts)


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
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
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((int(parsed), v6_bits), strict=False))
    return str(parsed) if parsed is not None else address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in trusted)


@functools.lru_cache(_PARSED_REMEMBERED)
def parse_address(address: str) -> IPv4Address | IPv6Address | None:
    """*address*, without a port that may be there; `None` for what is none."""
    text = address.strip()
    if text.startswith("["):
        text = text[1:].split("]", 1)[0]
    elif text.count(":") == 1:
        text = text.split(":", 1)[0]
    try:
        return ip_address(text)
    except ValueError:
        return None
