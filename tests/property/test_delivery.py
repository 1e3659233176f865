"""Whatever is published, acknowledged, refused or cut, a proxy never lacks what it may be using.

A model proxy holds what it was sent and checks the invariant at every step; in the end, once it
refuses nothing any more, it has exactly the last snapshot.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moreton.envoy.core.delivery import (
    Acknowledged,
    Applied,
    Delivery,
    Effect,
    Gone,
    Published,
    Refused,
    Rejected,
    Send,
    Subscribe,
)
from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl

SERVICES = "abcd"
KINDS = (TypeUrl.CLUSTER, TypeUrl.ENDPOINTS, TypeUrl.LISTENER, TypeUrl.ROUTES)
TABLE = st.tuples(st.sets(st.sampled_from(SERVICES), min_size=1), st.integers(0, 3))
LIMITS = settings(max_examples=150, stateful_step_count=40, deadline=None)


def snapshot(services: dict[str, int], table: tuple[set[str], int] | None) -> Snapshot:
    made = []
    for name, version in services.items():
        made.append(Resource(ResourceKey(TypeUrl.CLUSTER, name), f"{version % 2}", b"c"))
        made.append(Resource(ResourceKey(TypeUrl.ENDPOINTS, name), f"{version}", b"e"))
    if table is not None:
        used, version = table
        needs = frozenset(
            ResourceKey(kind, name)
            for name in used
            for kind in (TypeUrl.CLUSTER, TypeUrl.ENDPOINTS)
        )
        label = f"{''.join(sorted(used))}{version}"
        made.append(Resource(ResourceKey(TypeUrl.ROUTES, "r"), label, b"r", needs))
        made.append(Resource(ResourceKey(TypeUrl.LISTENER, "l"), "1", b"l"))
    return Snapshot({each.key: each for each in made})


class Proxy(RuleBasedStateMachine):
    """Behaves as Envoy does: asks for endpoints of clusters, for routes of listeners."""

    @initialize()
    def connect(self) -> None:
        self.held: dict[ResourceKey, Resource] = {}
        self.delivery = Delivery()
        self.flights: dict[TypeUrl, Send] = {}
        self.snapshot = Snapshot()
        self.reports: dict[ResourceKey, str] = {}
        self.hello()

    def hello(self) -> None:
        self.feed(Published(self.snapshot))
        for kind in (TypeUrl.CLUSTER, TypeUrl.ENDPOINTS, TypeUrl.LISTENER, TypeUrl.ROUTES):
            held = {key.name: each.version for key, each in self.held.items() if key[0] == kind}
            if kind in {TypeUrl.CLUSTER, TypeUrl.LISTENER}:
                self.feed(Subscribe(kind, held=held, first=True))
            elif wanted := self.wants(kind):
                self.feed(Subscribe(kind, frozenset(wanted), held=held, first=True))
        self.asked = {kind: self.wants(kind) for kind in (TypeUrl.ENDPOINTS, TypeUrl.ROUTES)}

    def wants(self, kind: TypeUrl) -> set[str]:
        if kind is TypeUrl.ENDPOINTS:
            return {key.name for key in self.held if key.type_url == TypeUrl.CLUSTER}
        return {"r"} if any(key.type_url == TypeUrl.LISTENER for key in self.held) else set()

    def feed(self, event: object) -> None:
        for effect in self.delivery.handle(event):  # type: ignore[arg-type]
            self.take(effect)

    def take(self, effect: Effect) -> None:
        match effect:
            case Send():
                assert effect.type_url not in self.flights, "two responses of one type at once"
                self.flights[effect.type_url] = effect
            case Applied(resource=resource):
                self.reports[resource.key] = resource.version
            case Gone(key=key):
                self.reports.pop(key, None)
            case Rejected():
                pass

    def apply(self, flight: Send) -> None:
        asked = self.asked.get(flight.type_url)
        for resource in flight.resources:
            if asked is None or resource.key.name in asked:  # else it gave it up meanwhile
                self.held[resource.key] = resource
        for name in flight.removed:
            self.held.pop(ResourceKey(flight.type_url, name), None)

    def answer(self, kind: TypeUrl, *, refuse: bool) -> None:
        flight = self.flights.pop(kind, None)
        if flight is None:
            return
        if refuse and flight.resources:
            self.feed(Refused(kind, flight.nonce, "no reason that names anything"))
        else:
            self.apply(flight)
            self.feed(Acknowledged(kind, flight.nonce))
        for other, before in self.asked.items():
            wanted = self.wants(other)
            if wanted != before:
                first = not before and other not in self.delivery._types
                gone = frozenset(before - wanted)
                self.asked[other] = wanted
                for name in gone:
                    self.held.pop(ResourceKey(other, name), None)
                event = Subscribe(other, frozenset(wanted - before), gone, first=first)
                self.feed(event)

    @rule(
        services=st.dictionaries(st.sampled_from(SERVICES), st.integers(0, 3)),
        table=st.none() | TABLE,
    )
    def publish(self, services: dict[str, int], table: tuple[set[str], int] | None) -> None:
        if table is not None:
            services = {**dict.fromkeys(table[0], 0), **services}
        self.snapshot = snapshot(services, table)
        self.feed(Published(self.snapshot))

    @rule(kind=st.sampled_from(KINDS))
    def acknowledge(self, kind: TypeUrl) -> None:
        self.answer(kind, refuse=False)

    @rule(kind=st.sampled_from(KINDS))
    def refuse(self, kind: TypeUrl) -> None:
        self.answer(kind, refuse=True)

    @rule()
    def reconnect(self) -> None:
        self.flights.clear()
        self.delivery = Delivery()
        self.reports.clear()
        self.hello()

    @invariant()
    def has_what_it_uses(self) -> None:
        for resource in self.held.values():
            for key in resource.needs:
                assert key in self.held, f"{resource.key} lacks {key}"

    def teardown(self) -> None:
        if not hasattr(self, "delivery"):
            return
        self.reconnect()  # a new stream forgets what was refused
        for _ in range(30):
            for kind in KINDS:
                self.answer(kind, refuse=False)
        wanted = {
            key: each.version
            for key, each in self.snapshot.resources.items()
            if key.type_url != TypeUrl.ROUTES or self.wants(TypeUrl.ROUTES)
        }
        assert {key: each.version for key, each in self.held.items()} == wanted
        assert not self.flights


Proxy.TestCase.settings = LIMITS
TestDelivery = Proxy.TestCase
