"""The control plane's parts, put together from checked settings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moreton.controlplane.api.events import Events
from moreton.controlplane.api.notices import Notices
from moreton.controlplane.assembly.discovery import Discovery
from moreton.controlplane.assembly.sources import clash_sentence, definitions, parse_object
from moreton.controlplane.assembly.troubles import Troubles
from moreton.controlplane.comparing.host import Comparisons
from moreton.controlplane.core.clashes import ClashIndex
from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Kind, ObjectKey
from moreton.controlplane.development import DevelopmentProcesses
from moreton.controlplane.drains import Drains
from moreton.controlplane.life.asking import asked_socket
from moreton.controlplane.life.collecting import copies_socket, differences_file
from moreton.controlplane.life.places import state_of
from moreton.controlplane.limits.keeping import BanKeeper
from moreton.controlplane.limits.orders import LimitOrders
from moreton.controlplane.migrations.host import Migrations
from moreton.controlplane.migrations.reports.findings import Findings, findings
from moreton.controlplane.objects import Control
from moreton.controlplane.objects.follow import Follower
from moreton.controlplane.objects.views import Views
from moreton.controlplane.publishing import Publisher
from moreton.controlplane.publishing.compiled import Compiled
from moreton.controlplane.publishing.ports import Preflight
from moreton.controlplane.publishing.proxyless import WithProxyless
from moreton.controlplane.rollouts import Rollouts
from moreton.controlplane.settings import Settings
from moreton.envoy.xds import PROXYLESS, XdsServer
from moreton.gateway.compile import GatewayCompiler, TlsUnreadable, Tracing
from moreton.gateway.core.model import Endpoint, Route, Service
from moreton.kernel.time import SystemClock
from moreton.ratelimit.core.rules.values import Ban
from moreton.ratelimit.seeing.core.board import Board
from moreton.registry import InstanceChange, Registry
from moreton.registry.history import History
from moreton.registry.instructions import Instructions
from moreton.registry.registering import FencedWrite
from moreton.store import Compare, Store, TxnResult
from moreton.store.core.model import Op

if TYPE_CHECKING:
    from moreton.registry.consul import ConsulApi
    from moreton.registry.dns import DnsServer


@dataclass(slots=True)
class Plane:
    """Everything that lives in this process, and the settings in force."""

    settings: Settings
    compiler: GatewayCompiler
    store: Store
    registry: Registry
    desired: Desired
    discovery: Discovery
    publisher: Publisher
    follower: Follower
    control: Control
    xds: XdsServer
    troubles: Troubles
    events: Events = field(default_factory=Events)
    clashes: ClashIndex = field(default_factory=ClashIndex)
    talkers: Board = field(default_factory=Board)
    programs: DevelopmentProcesses | None = None
    dns: DnsServer | None = None
    consul: ConsulApi | None = None
    faults: Sequence[str] = ()  # of the last edit, when it was refused
    edited: asyncio.Event = field(default_factory=asyncio.Event)
    views: Views = field(init=False)
    notices: Notices = field(init=False)
    drains: Drains = field(init=False)
    instructions: Instructions = field(init=False)
    rollouts: Rollouts = field(init=False)
    migrations: Migrations = field(init=False)
    comparisons: Comparisons = field(init=False)
    history: History = field(init=False)
    limit_orders: LimitOrders = field(init=False)
    ban_keeper: BanKeeper = field(init=False)

    def __post_init__(self) -> None:
        self.views = Views(self.control, self.discovery.view)
        view = self.discovery.view
        self.notices = Notices(view)
        self.drains = Drains(self.registry, view, self.desired, self.publisher, self.xds)
        self.instructions = Instructions(self.store)
        self.rollouts = Rollouts(self.store, self.registry, self.instructions)
        self.comparisons = Comparisons(
            self.store,
            lambda: self.settings.comparisons,
            lambda: self.settings.routes,
            endpoints=self._endpoints,
        )
        self.migrations = Migrations(
            self.store,
            self.desired,
            lambda: self.settings.migrations,
            copies=self.comparisons,
            find=self._find,
            webhooks=lambda: self.settings.webhooks,
            folder=lambda: state_of(self.settings) / "reports",
        )
        self.history = History(self.store)
        self.limit_orders = LimitOrders(self.store)
        self.ban_keeper = BanKeeper(
            self.limit_orders, lambda: self.settings.limits.clients.bans, self._publish_bans
        )

    def apply(self, settings: Settings) -> int:
        """Put *settings* in force; how many objects they change."""
        changed = self.desired.replace_file(definitions(settings))
        self.settings = settings
        self.faults = ()
        tracing = settings.tracing
        self.compiler.put_tracing(
            None if tracing is None else Tracing(tracing.otlp, tracing.sample)
        )
        self.compiler.put_clients(settings.limits.clients, settings.limits.counters)
        self.ban_keeper.touch()
        self.touch(changed)
        self.edited.set()
        self.edited = asyncio.Event()
        return len(changed)

    def note(self, change: InstanceChange) -> None:
        """Tell everybody of a change of the registry, once the view has it."""
        self.notices.tell(change)
        self.drains.apply(change)

    async def keep_history(self, write: FencedWrite | None = None) -> None:
        """Write down what happens to instances, for all nodes: as the leader, by its *write*.

        Until cancelled. Raises what *write* raises, and the store's errors.
        """

        async def alone(then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
            return await self.store.txn(compare, then)

        await self.instructions.forget_old()
        await self.history.keep(write or alone)

    def next_edit(self) -> asyncio.Event:
        """Set when other `settings` are put in force next."""
        return self.edited

    def refresh_secrets(self) -> None:
        """Certificates or keys changed on disk: serve with the new ones."""
        try:
            self.compiler.refresh_secrets()
        except TlsUnreadable as error:
            self.troubles.begin("certificates", str(error))
        else:
            self.troubles.end("certificates")
        self.publisher.touch_all()

    def touch(self, keys: Iterable[ObjectKey]) -> None:
        """*keys* may have changed: publish them."""
        changed = set(keys)
        for key in changed:
            if key.kind is Kind.ROUTE:
                self._index(key)
        self.publisher.touch(changed)

    def clash(self, route: Route) -> str:
        """Why *route* cannot be beside the others; empty when it can."""
        return clash_sentence(route, self.clashes.clashing(route), self.desired)

    def _find(self, route: str) -> Findings:
        file = differences_file(self.settings)
        return findings(file, route, self.settings.comparisons.get(route))

    def _endpoints(self, service: str) -> Sequence[Endpoint]:
        value = self.desired.weighted(ObjectKey(Kind.SERVICE, service))
        return self.discovery.endpoints_of(value) if isinstance(value, Service) else ()

    def _publish_bans(self, bans: Iterable[Ban]) -> None:
        self.compiler.put_bans(bans)
        self.publisher.touch_all()

    def _index(self, key: ObjectKey) -> None:
        value = self.desired.weighted(key)
        if isinstance(value, Route):
            self.clashes.put(value)
        else:
            self.clashes.remove(key.name)


def _compiler(settings: Settings) -> GatewayCompiler:
    asked, copied = asked_socket(settings), copies_socket(settings)
    return GatewayCompiler(asked_at=str(asked), copied_to=str(copied))


def put_together(
    settings: Settings, store: Store, xds: XdsServer, *, preflight: Preflight
) -> Plane:
    """The parts, wired; nothing runs yet."""

    def touch(keys: Iterable[ObjectKey]) -> None:
        plane.touch(keys)

    def clash(route: Route) -> str:
        return plane.clash(route)

    def notice(key: ObjectKey) -> None:
        if len(plane.events):
            plane.events.tell("object", plane.views.status_of(key))

    def tell(change: InstanceChange) -> None:
        plane.note(change)

    desired = Desired()
    registry = Registry(store)
    troubles = Troubles()
    discovery = Discovery(registry, desired, troubles=troubles, tell=tell)
    compiler = _compiler(settings)
    both = WithProxyless(compiler, lambda known: xds.publish(PROXYLESS, known))
    compiled = Compiled(both, discovery.endpoints_of)
    publisher = Publisher(
        desired, compiled, xds, preflight=preflight, clock=SystemClock(), notice=notice
    )
    follower = Follower(store, desired, parse=parse_object, touch=touch, troubles=troubles)
    control = Control(
        store,
        follower,
        publisher,
        parse=parse_object,
        clash=clash,
        guard=lambda: troubles.watching("store"),
    )
    plane = Plane(
        settings=settings,
        compiler=compiler,
        store=store,
        registry=registry,
        desired=desired,
        discovery=discovery,
        publisher=publisher,
        follower=follower,
        control=control,
        xds=xds,
        troubles=troubles,
    )
    return plane
