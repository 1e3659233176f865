"""Who is banned: looked up in O(number of different prefix lengths)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_network

from moreton.ratelimit.core.rules.seen import Address, Seen, value_of
from moreton.ratelimit.core.rules.values import Ban, Part, Trait


class BanIndex:
    """*bans*, by whom they are for."""

    def __init__(self, bans: Iterable[Ban] = ()) -> None:
        self._networks: dict[tuple[int, int], dict[int, Ban]] = defaultdict(dict)
        self._others: dict[Part, dict[str, Ban]] = defaultdict(dict)
        for ban in bans:
            if ban.part.trait is Trait.ADDRESS:
                network = ip_network(ban.value)
                width = network.max_prefixlen - network.prefixlen
                found = self._networks[network.version, width]
                _keep_longest(found, int(network.network_address) >> width, ban)
            else:
                _keep_longest(self._others[ban.part], ban.value, ban)

    def ban_of(self, seen: Seen) -> Ban | None:
        """The ban that *seen* is under now, if any."""
        now = seen.now
        parsed = seen.parsed
        if parsed is not None and self._networks:
            found = self._of_address(parsed, now)
            if found is not None:
                return found
        for part, bans in self._others.items():
            # Who is within a banned tier is banned.
            values = seen.line if part.trait is Trait.TIER else (value_of(part, seen),)
            for value in values:
                ban = bans.get(value)
                if ban is not None and in_force(ban, now):
                    return ban
        return None

    def _of_address(self, address: Address, now: datetime) -> Ban | None:
        number, version = int(address), address.version
        for (family, width), bans in self._networks.items():
            if family == version:
                ban = bans.get(number >> width)
                if ban is not None and in_force(ban, now):
                    return ban
        return None


def in_force(ban: Ban, now: datetime) -> bool:
    """Whether *ban* holds at *now*."""
    return ban.until is None or now < ban.until


def _keep_longest(found: dict[int, Ban] | dict[str, Ban], key: int | str, ban: Ban) -> None:
    """Of two bans of one client the longer holds."""
    bans: dict[int | str, Ban] = found  # type: ignore[assignment]  # of either kind
    other = bans.get(key)
    if other is None or ban.until is None or (other.until is not None and ban.until > other.until):
        bans[key] = ban
