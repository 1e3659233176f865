"""From values to resources, recompiling only what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.gateway.compile.compiled import compiled_route
from moreton.gateway.compile.copies.filters import COPIES, COPIES_KEY, copies_cluster
from moreton.gateway.compile.copies.held import HeldCopies
from moreton.gateway.compile.hosts import Compiled, RouteTable
from moreton.gateway.compile.http import COLLECTOR, Tracing, collector
from moreton.gateway.compile.limits.exact import ASKED_KEY, asked_cluster
from moreton.gateway.compile.limits.held import HeldLimits
from moreton.gateway.compile.limits.local import runtime_values
from moreton.gateway.compile.listeners import ReadFile, listener_name, listeners, secret
from moreton.gateway.compile.services import cluster, endpoints, is_resolved_by_envoy
from moreton.gateway.compile.weights import Weights, first_of
from moreton.gateway.core.limits import has_only_v4
from moreton.gateway.core.model import Endpoint, Gateway, Route, Service, TlsFiles
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.ratelimit.core.rules.values import Ban, Clients, Counters, LimitRule

_COUNTERS = Counters()


class TlsUnreadable(MoretonError):
    """A certificate or key could not be read when it was to be sent to the proxies."""

    code = "tls-unreadable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, path: str, reason: str) -> None:
        """*path* is the file, *reason* the system's."""
        super().__init__(
            f"{path} cannot be read: {reason}: the listener keeps what it had; check the path and "
            "its permissions"
        )
        self.path = path
        self.reason = reason


def read_file(path: str) -> bytes:
    """The content of *path*; raises `TlsUnreadable`."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsUnreadable(path=path, reason=error.strerror or str(error)) from error


class GatewayCompiler:
    """Holds everything compiled, as bytes; `take` hands out what changed since the last call.

    The order of calls between two `take`s plays no part, and what comes out in the end is the same
    as if only the last values had ever been put. Not for several threads at once.
    """

    def __init__(
        self,
        tracing: Tracing | None = None,
        *,
        read: ReadFile = read_file,
        asked_at: str = "limits.sock",
        copied_to: str = "copies.sock",
    ) -> None:
        self._tracing = tracing
        self._asked_at = asked_at
        self._copied_to = copied_to
        self._read = read
        self._gateways: dict[str, Gateway] = {}
        self._tables: dict[str, RouteTable] = {}
        self._routes: dict[str, Compiled] = {}
        self._services: dict[str, bool] = {}  # whether it has an ENDPOINTS resource
        self._weights = Weights()
        self._limits = HeldLimits()
        self._copies = HeldCopies()
        self._values: dict[str, Route] = {}
        self._under: dict[str, bytes] = {}  # what a route says of its limits
        self._taken: dict[ResourceKey, tuple[str, frozenset[ResourceKey]]] = {}
        self._pending: dict[ResourceKey, Resource | None] = {}  # None: to be removed
        if tracing is not None:
            self._put(collector(tracing))

    def put_tracing(self, tracing: Tracing | None) -> None:
        """Send spans there from now on, or nowhere. Changes every listener when it changes."""
        if tracing == self._tracing:
            return
        self._tracing = tracing
        if tracing is None:
            self._drop(ResourceKey(TypeUrl.CLUSTER, COLLECTOR))
        else:
            self._put(collector(tracing))
        for gateway in self._gateways.values():
            self._put_listeners(gateway)

    def put_gateway(self, gateway: Gateway) -> None:
        """Add or replace a gateway: its listeners, its own table of all routes for it.

        Raises `TlsUnreadable`, and then nothing has changed.
        """
        secrets = [secret(one, self._read) for one in _certificates(gateway)]
        before = self._gateways.get(gateway.name)
        self._gateways[gateway.name] = gateway
        self._limits.only_v4.discard(gateway.name)
        if has_only_v4(gateway):
            self._limits.only_v4.add(gateway.name)
        for one in secrets:
            self._put(one)
        self._put_listeners(gateway)
        self._put_limits(gateway.name)
        if before is not None:
            self._drop_listeners(before, first=len(gateway.listeners))
            self._drop_unused_secrets(before)
            return
        table = self._tables[gateway.name] = RouteTable(gateway.name)
        table.turn_on(self._limits.turned_on(gateway.name))
        for route in self._routes.values():
            _into(table, route)
        self._limits.stale = True  # routes under limits say so for each gateway

    def remove_gateway(self, name: str) -> None:
        """Take a gateway and its listeners out; nothing when it is not there."""
        gateway = self._gateways.pop(name, None)
        if gateway is None:
            return
        del self._tables[name]
        self._drop(ResourceKey(TypeUrl.ROUTES, name))
        for one in (*self._limits.chains(name), *self._limits.charges(name)):
            self._drop(one.key)
        self._limits.shares.forget(name)
        self._drop_listeners(gateway, first=0)
        self._drop_unused_secrets(gateway)
        self._limits.stale = True

    def refresh_secrets(self) -> None:
        """Read all certificates and keys again; raises `TlsUnreadable` after all that can be."""
        failure: TlsUnreadable | None = None
        for gateway in self._gateways.values():
            for files in _certificates(gateway):
                try:
                    self._put(secret(files, self._read))
                except TlsUnreadable as error:
                    failure = error
        if failure is not None:
            raise failure

    def put_service(self, service: Service) -> None:
        """Add or replace a service.

        Its fixed addresses become its endpoints. Without any, it keeps the endpoints that it has,
        and has none until `put_endpoints`.
        """
        self._put(cluster(service))
        key = ResourceKey(TypeUrl.ENDPOINTS, service.name)
        has_endpoints = not is_resolved_by_envoy(service)
        self._set_service(service.name, has_endpoints=has_endpoints)
        if not has_endpoints:
            self._drop(key)
            self._weights.set_empty(service.name, empty=False)
        elif service.addresses or not self._has(key):
            self.put_endpoints(service.name, [Endpoint(one) for one in service.addresses])

    def put_endpoints(self, service: str, members: Sequence[Endpoint]) -> None:
        """Where *service* answers now; nothing when Envoy resolves its addresses itself."""
        if self._services.get(service, True):
            self._put(endpoints(service, members))
            self._weights.set_empty(service, empty=not members)

    def remove_service(self, name: str) -> None:
        """Take a service and its endpoints out; nothing when it is not there."""
        self._drop(ResourceKey(TypeUrl.CLUSTER, name))
        self._drop(ResourceKey(TypeUrl.ENDPOINTS, name))
        self._set_service(name, has_endpoints=None)
        self._weights.set_empty(name, empty=False)

    def put_route(self, route: Route) -> None:
        """Add or replace a route.

        It should send to services that are there: to others a proxy answers 503.
        """
        self._weights.put(route.name, {one.service: one.weight for one in route.to})
        self._put_first(route)
        self._values[route.name] = route
        self._limits.put_route(route)
        if self._copies.put(route):
            self._put_copies()
        self._put_compiled(route)

    def put_weights(self, route: str, weights: Mapping[str, int]) -> None:
        """The shares of *route*'s destinations, of any sum above 0; no table changes.

        They hold until `put_route` or `remove_route`. Raises `ValueError` when all are 0.
        """
        self._weights.put(route, weights)

    def put_copied(self, route: str, share: float) -> None:
        """So many in [0, 1] of *route*'s requests are copied, where it has `copies`.

        They hold until `remove_route`; no table changes. Raises `ValueError` for another share.
        """
        self._copies.put_share(route, share)
        self._put_copies()

    def remove_route(self, name: str) -> None:
        """Take a route out; nothing when it is not there."""
        self._weights.remove(name)
        if self._copies.remove(name):
            self._put_copies()
        self._weights.remove(first_of(name))
        self._values.pop(name, None)
        self._limits.remove_route(name)
        self._under.pop(name, None)
        if self._routes.pop(name, None) is not None:
            for table in self._tables.values():
                table.remove(name)

    def put_limit(self, rule: LimitRule) -> None:
        """Add or replace a rule of limits; nothing of it is here when others keep it."""
        if rule == self._limits.get(rule.name):
            return
        self._limits.put(rule)
        self._weights.put_values(f"limits:{rule.name}", runtime_values(rule))
        self._limits_changed()

    def remove_limit(self, name: str) -> None:
        """Take a rule out; nothing when it is not there."""
        rule = self._limits.remove(name)
        if rule is not None:
            self._weights.remove_values(f"limits:{name}")
            self._limits_changed()

    def put_clients(self, clients: Clients, counters: Counters = _COUNTERS) -> None:
        """How clients are told apart, and where counts are, from now on."""
        self._limits.clients, self._limits.budget = clients, counters.budget
        self._limits_changed()

    def put_bans(self, bans: Iterable[Ban]) -> None:
        """Who is banned from now on; no limit begins anew."""
        wanted = tuple(bans)
        if wanted == self._limits.bans:
            return
        self._limits.bans = wanted
        for name in self._gateways:
            self._put(self._limits.banned(name))

    def put_shares(
        self, gateway: str, kept: Mapping[str, float], lent: Mapping[str, float], seconds: float
    ) -> list[Resource]:
        """The shares of limits, by name, that *gateway* acts by; what says so to a proxy.

        Those *lent* it forgets after *seconds*, and goes on with those *kept*.
        """
        self._limits.shares.tell(gateway, kept, lent, seconds)
        found = self._limits.charges(gateway) if gateway in self._gateways else []
        for one in found:
            self._put(one)
        return found

    def take(self) -> tuple[list[Resource], list[ResourceKey]]:
        """What changed and what went since the last call."""
        if self._limits.stale:
            self._settle_limits()
        for table in self._tables.values():
            if table.changed:
                self._put(table.resource(self._needs))
        layer = self._weights.take()
        if layer is not None:
            self._put(layer)
        pending, self._pending = self._pending, {}
        changed = [one for one in pending.values() if one is not None]
        removed = sorted(key for key, one in pending.items() if one is None)
        self._taken.update((one.key, (one.version, one.needs)) for one in changed)
        for key in removed:
            del self._taken[key]
        return changed, removed

    def _put_copies(self) -> None:
        if len(self._copies):
            self._weights.put_values(COPIES, self._copies.values())
            self._put(copies_cluster(self._copied_to))
            self._set_service(COPIES, has_endpoints=False)
        else:
            self._weights.remove_values(COPIES)
            self._drop(COPIES_KEY)
            self._set_service(COPIES, has_endpoints=None)

    def _limits_changed(self) -> None:
        """The filters anew; the routes are settled before they are taken."""
        if self._limits.asks:
            self._put(asked_cluster(self._asked_at))
        else:
            self._drop(ASKED_KEY)
        for name in self._gateways:
            self._put_limits(name)

    def _put_limits(self, gateway: str) -> None:
        for one in (*self._limits.chains(gateway), *self._limits.charges(gateway)):
            self._put(one)
        if gateway in self._tables:
            self._tables[gateway].turn_on(self._limits.turned_on(gateway))

    def _settle_limits(self) -> None:
        """Which limits of routes share a place, and so what the routes say, is of all there are."""
        for name in self._limits.settle(self._gateways, self._values.values()):
            self._put_limits(name)
        self._put_routes()

    def _put_routes(self) -> None:
        """Those routes again whose limits are others now."""
        for name, route in self._values.items():
            if self._limits.on_here(route, self._gateways) != self._under[name]:
                self._put_compiled(route)

    def _put_compiled(self, route: Route) -> None:
        limits = self._under[route.name] = self._limits.on_here(route, self._gateways)
        compiled = compiled_route(route, limits)
        if self._routes.get(route.name) == compiled:
            return
        self._routes[route.name] = compiled
        for table in self._tables.values():
            _into(table, compiled)

    def _put_first(self, route: Route) -> None:
        """The shares of the users who go first: nothing but the destination they go to."""
        if route.move is None or not route.move.cohorts:
            self._weights.remove(first_of(route.name))
            return
        to = {one.service: int(one.service == route.move.to) for one in route.to}
        self._weights.put(first_of(route.name), to)

    def _needs(self, service: str) -> Sequence[ResourceKey]:
        """What must be there before a table that names *service*.

        Of a service that is unknown nothing is needed: one mistake must not stop a whole table.
        """
        has_endpoints = self._services.get(service)
        if has_endpoints is None:
            return ()
        needed = ResourceKey(TypeUrl.CLUSTER, service)
        return (needed, ResourceKey(TypeUrl.ENDPOINTS, service)) if has_endpoints else (needed,)

    def _set_service(self, name: str, *, has_endpoints: bool | None) -> None:
        if self._services.get(name) is has_endpoints:
            return
        if has_endpoints is None:
            del self._services[name]
        else:
            self._services[name] = has_endpoints
        for table in self._tables.values():
            if table.uses(name):
                table.changed = True  # what it needs

    def _put_listeners(self, gateway: Gateway) -> None:
        for one in listeners(gateway, self._tracing):
            self._put(one)

    def _drop_listeners(self, gateway: Gateway, *, first: int) -> None:
        for number in range(first, len(gateway.listeners)):
            self._drop(ResourceKey(TypeUrl.LISTENER, listener_name(gateway.name, number)))

    def _drop_unused_secrets(self, before: Gateway) -> None:
        used = {one.certificate for each in self._gateways.values() for one in _certificates(each)}
        for files in _certificates(before):
            if files.certificate not in used:
                self._drop(ResourceKey(TypeUrl.SECRET, files.certificate))

    def _put(self, one: Resource) -> None:
        """Note *one* for `take`, unless it is what was taken last."""
        if self._taken.get(one.key) == (one.version, one.needs):
            self._pending.pop(one.key, None)
        else:
            self._pending[one.key] = one

    def _drop(self, key: ResourceKey) -> None:
        if key in self._taken:
            self._pending[key] = None
        else:
            self._pending.pop(key, None)

    def _has(self, key: ResourceKey) -> bool:
        return self._pending[key] is not None if key in self._pending else key in self._taken


def _into(table: RouteTable, route: Compiled) -> None:
    """Put *route* into *table* when it is for that gateway; take it out when no longer."""
    if not route.gateways or table.name in route.gateways:
        table.put(route)
    else:
        table.remove(route.name)


def _certificates(gateway: Gateway) -> list[TlsFiles]:
    return [listener.tls for listener in gateway.listeners if listener.tls is not None]
