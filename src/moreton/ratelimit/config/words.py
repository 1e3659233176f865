"""The small grammars of the sections `limits` and `clients`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, InstanceOf

from moreton.config.words import read_header_name, text
from moreton.ratelimit.core.addresses import UNIX, Network, Trusted, unmapped
from moreton.ratelimit.core.rules.values import DAY_MINUTES, Ban, Part, Trait

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_STATUSES = re.compile(r"([1-5])xx|([1-5]\d\d)(?:\s*-\s*([1-5]\d\d))?")
# What people write who do not remember our words.
_MEANT = {
    "ip": "address",
    "client": "address",
    "remote_addr": "address",
    "api_key": "api-key",
    "apikey": "api-key",
    "key": "api-key",
    "claim": "jwt:CLAIM, as jwt:sub",
    "user": "jwt:sub, or header:NAME",
    "tenant": "header:NAME, as header:x-tenant",
}
_NAMED = frozenset({Trait.HEADER, Trait.JWT})
# Who has these may be banned; a route or a method is nobody.
_BANNED_BY = frozenset(
    {Trait.ADDRESS, Trait.API_KEY, Trait.HEADER, Trait.JWT, Trait.COUNTRY, Trait.ASN, Trait.TIER}
)


AlgorithmWord = Literal[
    "gcra", "token-bucket", "leaky-bucket", "fixed-window", "sliding-counter", "sliding-log"
]


class Written:
    """A value that *read* makes of what is written in one of *forms* (JSON Schema), or as it is."""

    def __init__(self, read: Callable[[Any], Any], *forms: dict[str, Any]) -> None:
        self._read = read
        self._forms = forms

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return BeforeValidator(self._read).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [*self._forms, handler(schema)]}


def read_off(value: Any) -> Any:
    """`off`, which YAML reads as false."""
    return "off" if value is False else value


class OneOrMany:
    """For a list: one item may stand without its brackets."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return BeforeValidator(_listed).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = dict(handler(schema))
        return {"anyOf": [found.get("items", {}), found]}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_part(value: Any) -> Part:
    """`address`, `header:x-tenant`, `jwt:sub`, `api-key`, `tier`, `country` and so on."""
    if isinstance(value, Part):
        return value
    word, _, name = str(value).partition(":")
    if not isinstance(value, str) or word not in list(Trait):
        if word in _MEANT:
            raise ValueError(f"{value!r} tells nobody apart; write {_MEANT[word]}")
        known = ", ".join(f"{one}:NAME" if one in _NAMED else one for one in Trait)
        raise ValueError(f"{value!r} tells nobody apart; use {known}")
    trait = Trait(word)
    if (trait in _NAMED) is not bool(name):
        example = f"{word}:x-tenant" if trait is Trait.HEADER else f"{word}:sub"
        raise ValueError(
            f"{value!r} lacks a name; write one like {example}"
            if trait in _NAMED
            else f"{value!r} has a name that means nothing; write {word}"
        )
    return Part(trait, read_header_name(name) if trait is Trait.HEADER else name)


def read_network(value: Any) -> Network:
    """`10.0.0.0/8`, `2001:db8::/32`, or one address."""
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY301, TRY004 - one message for all
        return unmapped(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError(
            f"{value!r} is not a network; write one like 10.0.0.0/8 or 192.0.2.7"
        ) from None
    raise ValueError(f"{value!r} has bits beyond its prefix; write {wider}")


def read_proxies(value: Any) -> Trusted:
    """A network, or `unix` for whoever comes over a Unix socket."""
    return UNIX if value == UNIX else read_network(value)


def read_zone(value: Any) -> tzinfo:
    """`Europe/Berlin`, `UTC`."""
    if isinstance(value, tzinfo):
        return value
    if value == "UTC":
        return UTC
    try:
        return ZoneInfo(value)
    except (ValueError, OSError, TypeError, LookupError):  # LookupError: it is not known
        raise ValueError(
            f"{value!r} is not a time zone that this machine knows; write one like Europe/Berlin"
        ) from None


def read_hours(value: Any) -> tuple[int, int]:
    """`09:00-17:00` as minutes of the day; `22:00-06:00` ends on the next day."""
    found = _HOURS.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not a time of day; write one like 09:00-17:00")
    hours = [int(part) for part in found.groups()]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if begin >= DAY_MINUTES or end > DAY_MINUTES or max(hours[1], hours[3]) >= 60:
        raise ValueError(f"{value!r} is at an hour that no day has; use 00:00 to 24:00")
    if begin == end:
        raise ValueError(f"{value!r} is no time at all; leave it out for the whole day")
    return begin, end


def read_days(value: Any) -> frozenset[int]:
    """`mon`, `mon-fri`, `sat-sun`; 0 is Monday."""
    first, dash, last = str(value).lower().partition("-")
    if first not in _DAYS or (dash and last not in _DAYS):
        raise ValueError(f"{value!r} is not a day; write one like mon, or mon-fri")
    begin = _DAYS.index(first)
    count = (_DAYS.index(last) - begin) % 7 if dash else 0
    return frozenset((begin + number) % 7 for number in range(count + 1))


def read_statuses(value: Any) -> tuple[int, int]:
    """`401`, `4xx`, `400-499`: the first and the last status."""
    found = _STATUSES.fullmatch(str(value).lower().strip())
    if found is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a status; write one like 401, 4xx or 400-499")
    if found[1]:
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    first, last = int(found[2]), int(found[3] or found[2])
    if last < first:
        raise ValueError(f"{value!r} ends before it begins; write {last}-{first}")
    return first, last


def read_country(value: Any) -> str:
    """`DE`, as ISO 3166 writes it."""
    if value is False:  # YAML's reading of NO
        return "NO"
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{2}", value):
        raise ValueError(f"{value!r} is not a country; write two letters, like DE")
    return value.upper()


def read_asn(value: Any) -> int:
    """`64500` or `AS64500`."""
    found = re.fullmatch(r"(?:AS)?(\d{1,10})", str(value), re.IGNORECASE)
    if found is None or isinstance(value, bool) or int(found[1]) >= 2**32:
        raise ValueError(f"{value!r} is not an AS number; write one like AS64500")
    return int(found[1])


def read_who(value: Any) -> tuple[Part, str]:
    """Whom a ban is for: `192.0.2.0/24`, `api-key=acme`, `country=XX`, `header:user-agent=Bot`."""
    name, equals, rest = str(value).partition("=")
    if not equals:
        return Part(Trait.ADDRESS), _network_text(value)
    part = read_part(name.strip())
    rest = rest.strip()
    if part.trait not in _BANNED_BY or not rest:
        known = ", ".join(sorted(one for one in _BANNED_BY))
        raise ValueError(f"{value!r} is nobody who could be banned; use one of {known}, =, a value")
    read: dict[Trait, Callable[[Any], object]] = {
        Trait.ADDRESS: _network_text,
        Trait.COUNTRY: read_country,
        Trait.ASN: read_asn,
    }
    return part, str(read.get(part.trait, str)(rest))


def _network_text(value: Any) -> str:
    """A network; of one address, the address."""
    network = read_network(value)
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def read_moment(value: Any) -> datetime:
    """A date, or a date and time, in UTC where it does not say."""
    try:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - below
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{value!r} is not a moment; write one like 2027-01-31 or 2027-01-31T18:00:00Z"
        ) from None


def ban_of(who: str, until: datetime | None = None, reason: str = "") -> Ban:
    """The ban of *who*; raises `ValueError`."""
    part, value = read_who(who)
    return Ban(part, value, until, reason)


PartText = Annotated[Part, *text(read_part, "address")]
NetworkText = Annotated[Network, *text(read_network, "10.0.0.0/8")]
ProxyText = Annotated[Trusted, *text(read_proxies, "10.0.0.0/8")]
ZoneText = Annotated[InstanceOf[tzinfo], *text(read_zone, "Europe/Berlin")]
HoursText = Annotated[tuple[int, int], *text(read_hours, "09:00-17:00")]
DaysText = Annotated[frozenset[int], *text(read_days, "mon-fri")]
StatusText = Annotated[tuple[int, int], *text(read_statuses, "4xx")]
CountryText = Annotated[str, *text(read_country, "DE")]
AsnText = Annotated[int, *text(read_asn, "AS64500")]
WhoText = Annotated[tuple[Part, str], *text(read_who, "192.0.2.0/24")]
MomentText = Annotated[datetime, *text(read_moment, "2027-01-31")]
