"""What a gateway is told, as values: gateways, services and routes.

The models of `moreton.yaml` and of the HTTP API are turned into these; everything below (ranking,
explaining, compiling to Envoy) reads only these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from moreton.gateway.core.moves import Move
from moreton.kernel.patterns import PathPattern, ValueMatch


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Which requests a route takes; an empty set means any."""

    path: PathPattern
    hosts: frozenset[str] = frozenset()  # lower case; `*.shop.example` for a suffix
    methods: frozenset[str] = frozenset()  # upper case
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Destination:
    """A service and its share of the route's requests; shares count relative to their sum."""

    service: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed attempt is repeated: at most *attempts* times beyond the first."""

    attempts: int
    on: tuple[str, ...]  # Envoy's retry_on words
    per_try_timeout: timedelta | None = None
    # Envoy waits at random in [0, min(max, base * 2**(n-1))) before retry n.
    backoff_base: timedelta = timedelta(milliseconds=25)
    backoff_max: timedelta = timedelta(milliseconds=250)
    # Up to this long it waits what `Retry-After` says in seconds, and up to half of it more.
    retry_after_max: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirect instead of forwarding; `None` keeps what the request had."""

    status: int = 302
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Headers set (replacing), added (beside) and removed."""

    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of a *share* in [0, 1] of the requests goes to *service*; its answer is dropped."""

    service: str
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Cors:
    """Which browsers' origins may call: exact origins, `*`, or one `*` inside a host."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Copies:
    """Requests of *methods* may be shown, with their answers, to who compares another service.

    *asks*: the application is asked what they changed; with a *key*, which it knows, for all that
    they wrote.
    """

    methods: frozenset[str]
    asks: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One route: what it takes and what happens to it.

    Exactly one of *to* (at least one destination) and *redirect* is there.
    """

    name: str
    match: RouteMatch
    gateways: frozenset[str] = frozenset()  # empty: every gateway
    to: tuple[Destination, ...] = ()
    redirect: Redirect | None = None
    timeout: timedelta | None = None  # of the whole answer; None or zero: no limit but idle
    idle_timeout: timedelta | None = None
    retries: Retries | None = None
    rewrite_path: str | None = None  # replaces the matched prefix, or the whole exact path
    rewrite_host: str | None = None
    request_headers: HeaderChanges | None = None
    response_headers: HeaderChanges | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    websocket: bool = True
    copies: Copies | None = None  # how many of them is a runtime value, none at first
    move: Move | None = None  # while its requests move to one of its destinations


class Protocol(StrEnum):
    """What a service speaks."""

    HTTP1 = "http1"
    HTTP2 = "http2"  # cleartext, prior knowledge
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or an IP address, and a TCP port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where a service answers now; *weight* in [1, 128]."""

    address: Address
    weight: int = 1
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Ejection:
    """When an instance of a service rests for its share of failures, beside failures in a row.

    Of at least *minimum_requests* within *interval*, *failure_rate* failed: it rests for *rest*,
    and up to *jitter* longer.
    """

    failure_rate: float
    minimum_requests: int
    interval: timedelta
    rest: timedelta
    jitter: timedelta


@dataclass(frozen=True, slots=True)
class Service:
    """A service as told: its fixed addresses, or the registry name under which it is found."""

    name: str
    addresses: tuple[Address, ...] = ()
    discover: str | None = None
    protocol: Protocol = Protocol.HTTP1
    connect_timeout: timedelta = timedelta(seconds=2)
    max_connections: int = 10_000
    max_requests: int = 10_000
    retry_share: float = 0.2  # of the requests under way, that may be retries
    ejection: Ejection | None = None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files a listener serves with."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Listener:
    """One address that a gateway accepts on."""

    address: Address
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """A front door: its listeners, and what it logs."""

    name: str
    listeners: tuple[Listener, ...]
    access_log: str | None = None  # a file's path, or `stdout`
    trusted_proxies: int = 0  # hops of X-Forwarded-For to trust
    max_request_bytes: int | None = None
    max_connections: int = 50_000
