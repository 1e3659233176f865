"""A gateway's route table: a virtual host for each host pattern, spliced from their trees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.config.route.v3 import route_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.wire import content_hash, delimited, header, serialize
from moreton.gateway.compile.policies import DEFAULT_RETRIES, retry_policy
from moreton.gateway.compile.table import Entry, Table
from moreton.gateway.core.routing import host_rank
from moreton.kernel.patterns import ANY_HOST

_CONFIG = route_pb2.RouteConfiguration
_HOST = routes_pb2.VirtualHost
_HOST_DEFAULTS = delimited(_HOST.RETRY_POLICY_FIELD_NUMBER, retry_policy(DEFAULT_RETRIES))
# The port of the Host header plays no part, and applications still get to see it.
_ALWAYS = serialize(_CONFIG(ignore_port_in_host_matching=True))

Needs = Callable[[str], Iterable[ResourceKey]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A route, compiled: what every gateway that has it puts into its tables."""

    name: str
    hosts: tuple[str, ...]  # patterns; `*` for any
    gateways: frozenset[str]
    services: frozenset[str]
    entries: tuple[Entry, ...]


class RouteTable:
    """The tables of one gateway, by host pattern."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tables: dict[str, Table] = {}
        self._routes: dict[str, Compiled] = {}
        self._uses: Counter[str] = Counter()
        self._hosts_changed = True
        self._filters = b""
        self.changed = True

    def put(self, route: Compiled) -> None:
        """Add or replace a route."""
        self.remove(route.name)
        self._routes[route.name] = route
        self._uses.update(route.services)
        self.changed = True
        for host in route.hosts:
            if host not in self._tables:
                self._tables[host] = Table()
                self._hosts_changed = True
            for entry in route.entries:
                self._tables[host].put(entry)

    def remove(self, name: str) -> None:
        """Take a route out; nothing when it is not there."""
        route = self._routes.pop(name, None)
        if route is None:
            return
        self.changed = True
        self._uses.subtract(route.services)
        for host in route.hosts:
            for entry in route.entries:
                self._tables[host].remove(entry)

    def turn_on(self, filters: bytes) -> None:
        """All routes pass through these *filters*, a part of the `RouteConfiguration`."""
        if filters != self._filters:
            self._filters = filters
            self.changed = True

    def uses(self, service: str) -> bool:
        """Whether some route here names *service*."""
        return self._uses[service] > 0

    def resource(self, needs: Needs) -> Resource:
        """The `RouteConfiguration`; *needs* says what a service's users need."""
        self._link()
        groups: dict[bytes, list[str]] = {}
        for host in sorted(self._tables, key=_widest_first):
            table = self._tables[host]
            table.refresh()
            if len(table.leaves):
                groups.setdefault(table.leaves.digest(), []).append(host)
        name = delimited(_CONFIG.NAME_FIELD_NUMBER, self.name.encode())
        parts = [name, _ALWAYS, self._filters]
        hashes = list(parts)
        for hashed, hosts in sorted(groups.items(), key=lambda item: item[1]):
            leaves = self._tables[hosts[0]].leaves
            start = self._virtual_host(sorted(hosts))
            parts += [start, *leaves.parts()]
            hashes += [start, hashed]
        self.changed = False
        return Resource(
            ResourceKey(TypeUrl.ROUTES, self.name),
            content_hash(*hashes),
            b"".join(parts),
            frozenset(key for name in self._used() for key in needs(name)),
        )

    def _used(self) -> Iterator[str]:
        return (name for name, count in self._uses.items() if count > 0)

    def _link(self) -> None:
        """Each table after the next wider one that has routes of its own."""
        emptied = [host for host, table in self._tables.items() if not len(table)]
        for host in emptied:
            del self._tables[host]
        if not emptied and not self._hosts_changed:
            return
        self._hosts_changed = False
        for host, table in self._tables.items():
            wider = (self._tables[one] for one in _wider(host) if one in self._tables)
            table.adopt(next(wider, None))

    def _virtual_host(self, hosts: list[str]) -> bytes:
        """A virtual host up to its leaves; hosts whose tables are equal share one."""
        table = self._tables[hosts[0]]
        matcher = table.matcher_start()
        size = len(matcher) + table.leaves.size
        start = delimited(_HOST.NAME_FIELD_NUMBER, hosts[0].encode())
        start += b"".join(delimited(_HOST.DOMAINS_FIELD_NUMBER, host.encode()) for host in hosts)
        start += _HOST_DEFAULTS + header(_HOST.MATCHER_FIELD_NUMBER, size) + matcher
        return header(_CONFIG.VIRTUAL_HOSTS_FIELD_NUMBER, len(start) + table.leaves.size) + start


def _widest_first(host: str) -> tuple[int, int, str]:
    kind, length = host_rank(host)
    return (-kind, -length, host)


def _wider(host: str) -> Iterator[str]:
    """The patterns that cover *host*, itself aside, the narrowest first."""
    if host == ANY_HOST:
        return
    labels = host.removeprefix("*.").split(".")
    first = 1 if host.startswith("*.") else 0
    # `*.example` takes `a.example` and everything below it, but not `example`.
    for index in range(max(first, 1), len(labels)):
        yield "*." + ".".join(labels[index:])
    yield ANY_HOST
