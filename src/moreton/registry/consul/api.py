"""The API put together, and its life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from moreton.kernel.rng import Rng
from moreton.kernel.time import Clock
from moreton.registry.consul.agent import Agent, Cluster
from moreton.registry.consul.core.shapes import NodeNames
from moreton.registry.consul.discovery import Discovery
from moreton.registry.consul.following.catalog import Catalog
from moreton.registry.consul.following.state import ConsulState
from moreton.registry.consul.following.topics import Waiters, WaitingStatistics
from moreton.registry.consul.keys import Keys
from moreton.registry.consul.locks import Locks
from moreton.registry.consul.messages import Answer, Handler, Request
from moreton.registry.consul.registrar import (
    Registrar,
    RegistrarSettings,
    Resolve,
    resolve,
)
from moreton.registry.consul.web.access import Access, Anonymous
from moreton.registry.consul.web.app import ConsulApp, Endpoint
from moreton.registry.consul.web.quick import QuickReads
from moreton.registry.consul.web.reading import Look, Reading
from moreton.registry.host import Registry
from moreton.store import Store, prefix_end


@dataclass(frozen=True, slots=True)
class ConsulSettings:
    """How the API shows itself, and what it allows; *version* is Consul's whose API it follows."""

    node: NodeNames
    token: str
    version: str
    anonymous: Anonymous = Anonymous.NOTHING
    script_checks: bool = False


class ConsulApi:
    """Consul's HTTP API on *store*, as the ASGI application `app`; `quick` answers before it.

    `follow` must be running, once for each of its works, before anything is asked; `close` lets
    everyone go who waits.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: ConsulSettings,
        *,
        cluster: Cluster,
        clock: Clock,
        rng: Rng,
        is_cut_off: Callable[[], bool] = lambda: False,
        resolve: Resolve = resolve,
    ) -> None:
        self._waiters = Waiters()
        access = Access(settings.token, settings.anonymous)
        reading = Reading(
            self._waiters,
            clock=clock,
            rng=rng,
            is_cut_off=is_cut_off,
            default_policy=access.default_policy,
        )
        self._catalog = Catalog(store, self._waiters, settings.node, clock=clock)
        self._state = ConsulState(store, self._waiters, clock=clock)
        self._locks = Locks(store, self._state, self._catalog, reading, rng=rng)
        registrar_settings = RegistrarSettings(
            settings.node.address, resolve, settings.script_checks
        )
        registrar = Registrar(store, registry, self._catalog, registrar_settings)
        agent = Agent(self._catalog, reading, cluster, version=settings.version)
        endpoints = {
            **_agent_endpoints(agent, registrar),
            **_discovery_endpoints(Discovery(self._catalog), reading),
            **_key_endpoints(Keys(store, self._state, reading), self._locks),
        }
        self.app = ConsulApp(endpoints, access)
        self.quick = QuickReads(self.app, reading)

    def works(self) -> Mapping[str, Callable[[Callable[[], None]], Awaitable[None]]]:
        """What is to be run, by name, and again when the store fails it.

        Each is given what to call once it is up to date.
        """
        return {
            "following instances for Consul's clients": self._catalog.mirror.follow,
            "following Consul's keys": self._state.mirror.follow,
            "ending Consul's sessions": self._run_locks,
        }

    async def wait_ready(self) -> None:
        """Return once everything there is was read."""
        await self._catalog.mirror.wait_loaded()
        await self._state.mirror.wait_loaded()

    async def settle(self) -> None:
        """See here what is in the store by now."""
        for mirror in (self._catalog.mirror, self._state.mirror):
            await mirror.settle(mirror.prefix, prefix_end(mirror.prefix))

    def statistics(self) -> WaitingStatistics:
        """Who waits, and how many were woken."""
        return self._waiters.statistics()

    def close(self) -> None:
        """Answer everyone who waits, and let nobody wait any more."""
        self._waiters.close()

    async def _run_locks(self, is_fine: Callable[[], None]) -> None:
        await self.wait_ready()
        is_fine()
        await self._locks.run()


def _agent_endpoints(agent: Agent, registrar: Registrar) -> dict[str, Endpoint]:
    return {
        "/v1/agent/self": _get(agent.self),
        "/v1/agent/members": _get(agent.members),
        "/v1/agent/services": _get(agent.services),
        "/v1/agent/service/": _get(agent.service, has_rest=True),
        "/v1/agent/checks": _get(agent.checks),
        "/v1/agent/health/service/id/": _get(agent.health_by_id, has_rest=True),
        "/v1/agent/health/service/name/": _get(agent.health_by_name, has_rest=True),
        "/v1/agent/service/register": _put(registrar.register, has_rest=False),
        "/v1/agent/service/deregister/": _put(registrar.deregister),
        "/v1/agent/service/maintenance/": _put(registrar.maintenance),
        "/v1/agent/check/register": _put(registrar.register_check, has_rest=False),
        "/v1/agent/check/deregister/": _put(registrar.deregister_check),
        "/v1/agent/check/pass/": _put(registrar.passes),
        "/v1/agent/check/warn/": _put(registrar.warns),
        "/v1/agent/check/fail/": _put(registrar.fails),
        "/v1/agent/check/update/": _put(registrar.update),
        "/v1/status/leader": _get(agent.leader),
        "/v1/status/peers": _get(agent.peers),
    }


def _discovery_endpoints(discovery: Discovery, reading: Reading) -> dict[str, Endpoint]:
    looks = {
        "/v1/catalog/services": discovery.services,
        "/v1/catalog/service/": discovery.catalog_service,
        "/v1/catalog/nodes": discovery.nodes,
        "/v1/catalog/node/": discovery.node,
        "/v1/catalog/node-services/": discovery.node_services,
        "/v1/health/service/": discovery.health_service,
        "/v1/health/checks/": discovery.health_checks,
        "/v1/health/state/": discovery.health_state,
        "/v1/health/node/": discovery.health_node,
    }
    return {
        "/v1/catalog/datacenters": _get(discovery.datacenters),
        **{path: _look(look, reading, has_rest=path[-1] == "/") for path, look in looks.items()},
    }


def _key_endpoints(keys: Keys, locks: Locks) -> dict[str, Endpoint]:
    handlers = {"GET": keys.get, "PUT": keys.put, "DELETE": keys.delete}
    return {
        "/v1/kv/": Endpoint(handlers, has_rest=True),
        "/v1/txn": _put(keys.transact, has_rest=False),
        "/v1/session/create": _put(locks.create, has_rest=False),
        "/v1/session/destroy/": _put(locks.destroy),
        "/v1/session/renew/": _put(locks.renew),
        "/v1/session/info/": _get(locks.info, has_rest=True),
        "/v1/session/list": _get(locks.list),
        "/v1/session/node/": _get(locks.of_node, has_rest=True),
    }


def _get(handler: Handler, *, has_rest: bool = False) -> Endpoint:
    return Endpoint({"GET": handler}, has_rest=has_rest)


def _look(look: Callable[[Request], Look], reading: Reading, *, has_rest: bool) -> Endpoint:
    async def handler(request: Request) -> Answer:
        return await reading.answer(request, look(request))

    return Endpoint({"GET": handler}, has_rest, look)


def _put(handler: Handler, *, has_rest: bool = True) -> Endpoint:
    return Endpoint({"PUT": handler}, has_rest=has_rest)
