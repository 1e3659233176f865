"""A request as rules see it, when it is known who sends it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from moreton.ratelimit.core.addresses import client_address, key_of, parse_address
from moreton.ratelimit.core.rules.tiers import lineage
from moreton.ratelimit.core.rules.values import ApiKey, Clients, Part, Tier, Trait

# A longer value is told by its beginning and its digest: what clients write takes little room.
VALUE_CHARS_MAX = 64
_START_CHARS = 40
_DIGEST_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is; `None` where no one knows."""

    country: str | None = None
    asn: int | None = None


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Caller:
    """A request as it came; *headers* has lower-case names, *address* is who connected."""

    method: str
    path: str
    headers: Mapping[str, str]
    address: str
    gateway: str = ""
    service: str = ""
    route: str = ""

    @property
    def host(self) -> str:
        """The host that it is for, in lower case and without a port."""
        host = self.headers.get("host", "").lower()
        bare, colon, port = host.rpartition(":")
        return bare if colon and port.isdigit() else host


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, and who sends it; an empty text or `None` for what it lacks."""

    caller: Caller
    address: str  # of the client
    client: str  # its address as a key
    parsed: Address | None
    api_key: str
    claims: Mapping[str, str]
    line: tuple[str, ...]  # its tier, and the tiers that is within
    country: str
    asn: int
    now: datetime = field(default=_EPOCH)

    @property
    def tier(self) -> str:
        """Its tier; empty for none."""
        return self.line[0] if self.line else ""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is asked for what a request does not say: the claims of a token, an address's place."""

    claims: Callable[[str], Mapping[str, str]] = lambda _: {}
    place: Callable[[str], Place] = lambda _: NOWHERE


class Teller:
    """Tells who sends a request, by *clients*; O(1) but for the proxies in front and *sources*."""

    def __init__(self, clients: Clients, sources: Sources | None = None) -> None:
        self._clients = clients
        self._sources = sources or Sources()
        self._keys = {key.sha256: key for key in clients.api_keys}
        self._called = {
            called: tier.name
            for tier in clients.tiers.values()
            for called in (tier.name, *tier.aliases)
        }
        self._placed = [tier for tier in clients.tiers.values() if tier.addresses]
        self._lines = {name: lineage(clients.tiers, name) for name in clients.tiers}

    def see(self, caller: Caller, now: datetime) -> Seen:
        """*caller*, and who sends it."""
        clients, headers = self._clients, caller.headers
        forwarded = headers.get("x-forwarded-for", "")
        hops = forwarded.split(",") if forwarded else []
        address = client_address(caller.address, hops, clients.trusted)
        client = key_of(address, clients.v6_bits)
        parsed = parse_address(address)
        key = self._key(headers.get(clients.api_key_header, ""))
        claims: Mapping[str, str] = {}
        if clients.tokens is not None:
            claims = self._sources.claims(headers.get(clients.tokens.header, ""))
        place = self._sources.place(address) if clients.geoip else NOWHERE
        return Seen(
            caller,
            address,
            client,
            parsed,
            api_key="" if key is None else key.name,
            claims=claims,
            line=self._lines.get(self._tier(parsed, headers, key, claims), ()),
            country=clients.country_unknown if place.country is None else place.country,
            asn=clients.asn_unknown if place.asn is None else place.asn,
            now=now,
        )

    def _key(self, value: str) -> ApiKey | None:
        if not value:
            return None
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        if self._keys:
            return self._keys.get(digest)
        # What stands for itself is a secret still: it is told by its digest.
        return ApiKey(f"key-{digest[:12]}", digest)

    def _tier(
        self,
        parsed: Address | None,
        headers: Mapping[str, str],
        key: ApiKey | None,
        claims: Mapping[str, str],
    ) -> str:
        if parsed is not None and self._placed:
            found = _narrowest(self._placed, parsed)
            if found is not None:
                return found
        for part in self._clients.tier_from:
            match part.trait:
                case Trait.API_KEY:
                    said = key.tier if key is not None else ""
                case Trait.HEADER:
                    said = headers.get(part.name, "")
                case Trait.JWT:
                    said = claims.get(part.name, "")
                case _:
                    said = ""
            if said in self._called:
                return self._called[said]
        return self._clients.tier_unknown


def value_of(part: Part, seen: Seen) -> str:
    """What *part* of a key is for *seen*; empty when it lacks it."""
    match part.trait:
        case Trait.HEADER:
            return seen.caller.headers.get(part.name, "")
        case Trait.JWT:
            return seen.claims.get(part.name, "")
        case Trait.ASN:
            return str(seen.asn)
        case _:
            return _VALUES[part.trait](seen)


_VALUES: Mapping[Trait, Callable[[Seen], str]] = {
    Trait.ADDRESS: lambda seen: seen.client,
    Trait.API_KEY: lambda seen: seen.api_key,
    Trait.TIER: lambda seen: seen.tier,
    Trait.COUNTRY: lambda seen: seen.country,
    Trait.ROUTE: lambda seen: seen.caller.route,
    Trait.SERVICE: lambda seen: seen.caller.service,
    Trait.GATEWAY: lambda seen: seen.caller.gateway,
    Trait.HOST: lambda seen: seen.caller.host,
    Trait.METHOD: lambda seen: seen.caller.method,
    Trait.PATH: lambda seen: seen.caller.path,
}


def joined(values: Sequence[str]) -> str:
    """*values* as one key: different for different values, short, and fit to be read."""
    if len(values) == 1:
        return _short(values[0])
    return "|".join(
        _short(value).replace("%", "%25").replace("|", "%7C") if value else "" for value in values
    )


def _short(value: str) -> str:
    if len(value) <= VALUE_CHARS_MAX:
        return value
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return f"{value[:_START_CHARS]}…{digest.hexdigest()}"


def _narrowest(tiers: Sequence[Tier], address: Address) -> str | None:
    """The tier with the longest prefix that *address* is in."""
    found = [
        (network.prefixlen, tier.name)
        for tier in tiers
        for network in tier.addresses
        if address in network
    ]
    return max(found)[1] if found else None
