"""What `moreton.yaml` says of limits, as values: rules, and how clients are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from moreton.kernel.arguments import check_number
from moreton.kernel.patterns import PathPattern, ValueMatch
from moreton.ratelimit.core.addresses import V6_BITS, Network, Trusted
from moreton.ratelimit.core.fields import FieldStyle
from moreton.ratelimit.core.rules.bounds import Bound
from moreton.resilience.core.headers import Criticality

DAY_MINUTES = 24 * 60
ALL_DAYS = frozenset(range(7))


class Trait(StrEnum):
    """What of a request can be told, for keys, for tiers and for bans."""

    ADDRESS = "address"
    HEADER = "header"  # with a name
    JWT = "jwt"  # with a claim's name
    API_KEY = "api-key"
    TIER = "tier"
    ROUTE = "route"
    SERVICE = "service"
    GATEWAY = "gateway"
    COUNTRY = "country"
    ASN = "asn"
    HOST = "host"
    METHOD = "method"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a key: a *trait*; *name* is that of a header or of a claim."""

    trait: Trait
    name: str = ""

    def __str__(self) -> str:
        return f"{self.trait}:{self.name}" if self.name else self.trait.value


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of a day [*begin*, *end*) on *days* (0 is Monday); one past midnight ends next day.

    The days are those on which it begins.
    """

    begin: int = 0
    end: int = DAY_MINUTES
    days: frozenset[int] = ALL_DAYS


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests: those that fulfil every condition that is there; empty means any."""

    gateways: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()  # lower case; `*.shop.example` for a suffix
    methods: frozenset[str] = frozenset()  # upper case
    paths: tuple[PathPattern, ...] = ()
    headers: tuple[ValueMatch, ...] = ()
    claims: tuple[ValueMatch, ...] = ()  # of a verified JWT
    api_keys: frozenset[str] = frozenset()  # their names
    tiers: frozenset[str] = frozenset()  # and those within them
    addresses: tuple[Network, ...] = ()
    countries: frozenset[str] = frozenset()
    asns: frozenset[int] = frozenset()
    hours: tuple[Hours, ...] = ()  # in the zone of the rule


EVERYTHING = Match()


class Mode(StrEnum):
    """Whether a rule acts, only counts, or does nothing."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class Verdict(StrEnum):
    """What happens to a request that is too many."""

    REJECT = "reject"  # it is told so
    DELAY = "delay"  # it waits for its turn, up to a time; then it is told so
    DROP = "drop"  # its connection is ended, without a word where the server can do that


class Missing(StrEnum):
    """How requests count that lack a part of the key."""

    ADDRESS = "address"  # by their address instead
    TOGETHER = "together"  # all under one key
    SKIP = "skip"  # not at all


class Place(StrEnum):
    """Where a rule is kept."""

    GATEWAY = "gateway"
    SERVICE = "service"


class Scope(StrEnum):
    """Who counts together, and how closely."""

    LOCAL = "local"  # each Envoy, each process by itself
    MACHINE = "machine"  # the worker processes of one machine; services only
    QUOTA = "quota"  # all, by shares that are handed out ahead: no request waits for a call
    EXACT = "exact"  # all, by a call for each decision


@dataclass(frozen=True, slots=True)
class FailMode:
    """Refuse a share *refuse* of the requests, or all beyond a share *local* of the limits.

    `FailMode.open()` lets everything pass, `FailMode.closed()` nothing. With *local* this process
    decides alone by that share of each limit: with n processes 1 / n keeps the limit. With *keep*
    it goes on with the share that it has: of limits that gateways share.
    """

    refuse: float = 0.0
    local: float | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        check_number("refuse", self.refuse, 0, 1, "it is a share of the requests")
        if self.local is not None:
            check_number("local", self.local, 0, 1, "it is a share of the limit", above=True)

    @classmethod
    def open(cls) -> FailMode:
        """Let everything pass."""
        return cls(0.0)

    @classmethod
    def closed(cls) -> FailMode:
        """Refuse everything."""
        return cls(1.0)

    @classmethod
    def kept(cls) -> FailMode:
        """Go on with the last share."""
        return cls(keep=True)

    @classmethod
    def share(cls, local: float) -> FailMode:
        """Decide alone, by the share *local* in (0, 1] of each limit."""
        return cls(local=local)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request costs: *number*, or what its *header* says, up to *most*.

    With *answers*, ranges [first, last] of statuses, or *answer_header* the answer says: requests
    pass while one is left, and are charged when they were answered.
    """

    number: int = 1
    header: str = ""
    answers: tuple[tuple[int, int], ...] = ()
    answer_header: str = ""
    most: int = 1

    @property
    def is_of_answers(self) -> bool:
        """Whether it is known only once a request was answered."""
        return bool(self.answers or self.answer_header)


@dataclass(frozen=True, slots=True)
class LimitRule:
    """One rule of the section `limits`; no *bounds* at all: nothing passes, it is a ban.

    The requests of *match* that are not of *unless* count by *by* (empty: all under one key). A
    tier may have *tiers* bounds of its own, as have those within it; `None`: without a limit.
    """

    name: str
    bounds: tuple[Bound, ...]
    match: Match = EVERYTHING
    unless: Match | None = None
    by: tuple[Part, ...] = ()
    missing: Missing = Missing.ADDRESS
    tiers: Mapping[str, tuple[Bound, ...] | None] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    connections: bool = False  # counts connections of clients to a gateway, not requests
    verdict: Verdict = Verdict.REJECT
    wait: timedelta = timedelta(0)  # the longest of a delay
    queue: int = 0  # how many may wait at once; 0 without a delay
    status: int = 429
    fields: FieldStyle = FieldStyle.DRAFT_10
    mode: Mode = Mode.ENFORCE
    share: float = 1.0  # of the requests that are enforced; the others count, as in mode shadow
    at: Place = Place.GATEWAY
    scope: Scope = Scope.LOCAL
    outage: FailMode = field(default_factory=FailMode.open)
    shed: bool = False  # a part of each quota stays for what is more critical
    criticality: Criticality | None = None  # of all its requests; `None`: as they say
    zone: tzinfo = UTC  # of `hours` and of quotas

    @property
    def is_ban(self) -> bool:
        """Whether nothing passes it."""
        return not self.bounds


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of clients, *within* another whose rules and bounds hold for it too."""

    name: str
    within: str = ""
    aliases: frozenset[str] = frozenset()  # what else tokens and headers call it
    addresses: tuple[Network, ...] = ()  # who comes from there is of it


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is known by its SHA-256, in hex; *tier* may be empty."""

    name: str
    sha256: str
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """JWTs: in which *header*, by whose *keys* (a PEM or JWKS file) they are verified.

    Without a file they are believed as they come: something in front verified them.
    """

    header: str = "authorization"
    keys: str = ""
    issuer: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True)
class Ban:
    """Nobody with *value* of *part* passes, before *until* where that is given.

    An address is a network.
    """

    part: Part
    value: str
    until: datetime | None = None
    reason: str = ""

    @property
    def who(self) -> str:
        """As people write it: `192.0.2.0/24`, `api-key=acme`, `header:user-agent=BadBot`."""
        return self.value if self.part.trait is Trait.ADDRESS else f"{self.part}={self.value}"


@dataclass(frozen=True, slots=True)
class Clients:
    """How clients are told apart, and who is banned."""

    trusted: tuple[Trusted, ...] = ()  # one's own proxies
    v6_bits: int = V6_BITS  # of an IPv6 address that make one client
    api_key_header: str = "x-api-key"
    api_keys: tuple[ApiKey, ...] = ()  # empty: any key stands for itself
    tokens: Tokens | None = None
    tiers: Mapping[str, Tier] = field(default_factory=dict)
    tier_from: tuple[Part, ...] = ()  # asked in this order
    tier_unknown: str = ""  # who says none, or one that no one defines
    geoip: tuple[str, ...] = ()  # files in the MaxMind format
    country_unknown: str = "ZZ"
    asn_unknown: int = 0
    bans: tuple[Ban, ...] = ()


@dataclass(frozen=True, slots=True)
class Counters:
    """Where services, and gateways that count exactly, keep the counts they share."""

    redis: str = ""  # a URL; empty: none
    budget: timedelta = timedelta(milliseconds=100)
    file: str = ""  # for scope machine; empty: one in the memory of the machine


@dataclass(frozen=True, slots=True)
class Limits:
    """All that the sections `limits`, `clients` and `counters` say."""

    rules: Mapping[str, LimitRule] = field(default_factory=dict)
    clients: Clients = field(default_factory=Clients)
    counters: Counters = field(default_factory=Counters)
