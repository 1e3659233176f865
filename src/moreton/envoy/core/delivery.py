"""The order in which one proxy is sent its resources: make before break, gated on ACKs.

Invariant: whatever the proxy may be using has all that it `needs`. What the proxy may be using is
what it has acknowledged and what is on its way to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl

# Whatever needs nothing first; the order matters only for who is looked at first.
ORDER = (
    TypeUrl.RUNTIME,
    TypeUrl.CLUSTER,
    TypeUrl.ENDPOINTS,
    TypeUrl.SECRET,
    TypeUrl.EXTENSION,
    TypeUrl.LISTENER,
    TypeUrl.ROUTES,
)
# One route table a response: a refusal of a route table does not name the culprit.
_ONE_AT_A_TIME = frozenset({TypeUrl.ROUTES})
# Envoy 1.40 takes a filter that it just refused, when it comes again at once, for the one it has.
_REMEMBERED = frozenset({TypeUrl.EXTENSION})


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The proxy wants *subscribe* (and no longer *unsubscribe*) of one type, and has *held*."""

    type_url: TypeUrl
    subscribe: frozenset[str] = frozenset()
    unsubscribe: frozenset[str] = frozenset()
    held: dict[str, str] = field(default_factory=dict)  # name -> version, on a new stream
    first: bool = False  # the first request for this type on the stream


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The proxy accepted the response *nonce*."""

    type_url: TypeUrl
    nonce: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The proxy refused the response *nonce* and said why."""

    type_url: TypeUrl
    nonce: str
    reason: str


@dataclass(frozen=True, slots=True)
class Published:
    """There is a new snapshot."""

    snapshot: Snapshot


Event = Subscribe | Acknowledged | Refused | Published


@dataclass(frozen=True, slots=True)
class Send:
    """Send one response."""

    type_url: TypeUrl
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """The proxy has *resource* in force."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class Gone:
    """The proxy has no resource under *key* any more."""

    key: ResourceKey


@dataclass(frozen=True, slots=True)
class Rejected:
    """The proxy refused *resource* because of *reason*; what it had stays in force."""

    resource: Resource
    reason: str


Effect = Send | Applied | Gone | Rejected


@dataclass(slots=True)
class _Flight:
    nonce: str
    put: dict[str, Resource]
    removed: frozenset[str]


@dataclass(slots=True)
class _Type:
    """What one stream knows of one type."""

    wildcard: bool = False
    legacy: bool = False  # wildcard by an empty first request: ends with the first named one
    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)  # versions that the proxy has
    applied: dict[str, Resource] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)  # held in a version that we do not have
    refused: dict[str, str] = field(default_factory=dict)  # version that it refused
    forced: set[str] = field(default_factory=set)  # to be sent although it has them
    told_absent: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)  # names that may have to be sent or removed
    flight: _Flight | None = None
    greeted: bool = False  # the first wildcard answer was sent, even an empty one

    def wants(self, name: str) -> bool:
        """Whether the proxy asked for *name*."""
        return self.wildcard or name in self.names


class Delivery:
    """One proxy's stream: what it asked for, what it has, what is on its way."""

    def __init__(self, *, gated: bool = True) -> None:
        """Gate on ACKs, unless not *gated*: a gRPC client asks for clusters only after routes."""
        self._types: dict[TypeUrl, _Type] = {}
        self._snapshot = Snapshot()
        self._next_nonce = 0
        self._returning = False  # the proxy has resources from an earlier stream
        self._gated = gated

    def handle(self, event: Event) -> Sequence[Effect]:
        """What follows from *event*, in the order in which it must happen."""
        effects: list[Effect] = []
        match event:
            case Subscribe():
                effects += self._subscribe(event)
            case Acknowledged():
                effects += self._acknowledged(event)
            case Refused():
                effects += self._refused(event)
            case Published():
                self._published(event.snapshot)
        effects += self._pump()
        return effects

    def in_use(self) -> Iterator[Resource]:
        """What the proxy may be using: applied, or on its way."""
        for kind in self._types.values():
            yield from kind.applied.values()
            if kind.flight is not None:
                yield from kind.flight.put.values()

    def full(self, type_url: TypeUrl) -> Sequence[Resource]:
        """All of one type that the proxy may be using, by name."""
        kind = self._types.get(type_url, _Type())
        found = dict(kind.applied)
        if kind.flight is not None:
            found.update(kind.flight.put)
            for name in kind.flight.removed:
                found.pop(name, None)
        return [found[name] for name in sorted(found)]

    def settled(self) -> bool:
        """Whether nothing is on its way and nothing waits to be sent."""
        return all(kind.flight is None for kind in self._types.values())

    def _subscribe(self, event: Subscribe) -> Iterator[Effect]:
        kind = self._types.setdefault(event.type_url, _Type())
        if event.first:
            yield from self._take_held(kind, event)
            kind.greeted = bool(event.held)
            if not event.subscribe:
                kind.wildcard = kind.legacy = True
        if event.subscribe and kind.legacy:
            kind.wildcard = kind.legacy = False
        if "*" in event.subscribe:
            kind.wildcard = True
        names = event.subscribe - {"*"}
        kind.names |= names
        kind.told_absent -= names
        if not event.first:
            kind.forced |= names  # a name asked for again is sent again
        else:
            kind.forced |= {name for name in names if name not in kind.held}
        yield from self._unsubscribe(event.type_url, kind, event.unsubscribe)
        kind.pending |= names | kind.forced
        if event.first:
            kind.pending |= kind.held.keys()
        if kind.wildcard and (event.first or "*" in event.subscribe):
            resources = self._snapshot.resources
            kind.pending.update(key.name for key in resources if key.type_url == event.type_url)

    def _take_held(self, kind: _Type, event: Subscribe) -> Iterator[Effect]:
        """What a proxy that connects again has from before."""
        self._returning = self._returning or bool(event.held)
        kind.held.update(event.held)
        for name, version in event.held.items():
            resource = self._snapshot.resources.get(ResourceKey(event.type_url, name))
            if resource is not None and resource.version == version:
                kind.applied[name] = resource
                yield Applied(resource)
            else:
                kind.unknown.add(name)

    def _unsubscribe(
        self, type_url: TypeUrl, kind: _Type, names: frozenset[str]
    ) -> Iterator[Effect]:
        if "*" in names:
            kind.wildcard = kind.legacy = False
        for name in names - {"*"}:
            kind.names.discard(name)
            if kind.wildcard:
                kind.forced.add(name)  # still wanted by `*`: the protocol wants an answer
            else:
                kind.held.pop(name, None)
                kind.unknown.discard(name)
                kind.forced.discard(name)
                if kind.applied.pop(name, None) is not None:
                    yield Gone(ResourceKey(type_url, name))

    def _published(self, snapshot: Snapshot) -> None:
        for key in snapshot.differences(self._snapshot):
            kind = self._types.get(key.type_url)
            if kind is not None:
                kind.pending.add(key.name)
                kind.refused.pop(key.name, None)
        self._snapshot = snapshot

    def _acknowledged(self, event: Acknowledged) -> Iterator[Effect]:
        kind = self._types.get(event.type_url)
        if kind is None or kind.flight is None or kind.flight.nonce != event.nonce:
            return
        flight, kind.flight = kind.flight, None
        for name, resource in flight.put.items():
            if kind.wants(name):  # else the proxy gave it up while it was on its way
                kind.applied[name] = resource
                kind.unknown.discard(name)
                yield Applied(resource)
        for name in flight.removed:
            kind.applied.pop(name, None)
            kind.unknown.discard(name)
            yield Gone(ResourceKey(event.type_url, name))

    def _refused(self, event: Refused) -> Iterator[Effect]:
        kind = self._types.get(event.type_url)
        if kind is None or kind.flight is None or kind.flight.nonce != event.nonce:
            return
        flight, kind.flight = kind.flight, None
        named = {name for name in flight.put if f" {name}: " in f" {event.reason}"}
        culprits = named or set(flight.put)
        for name, resource in flight.put.items():
            if name in culprits:
                # The proxy keeps what it had; `held` was set when it was sent.
                before = kind.applied.get(name)
                if before is None:
                    kind.held.pop(name, None)
                elif event.type_url in _REMEMBERED:
                    kind.held[name] = ""  # what it had is sent again, so that it forgets this
                else:
                    kind.held[name] = before.version
                kind.refused[name] = resource.version
                yield Rejected(resource, event.reason)
            elif kind.wants(name):
                kind.applied[name] = resource
                kind.unknown.discard(name)
                yield Applied(resource)
        for name in flight.removed:
            kind.applied.pop(name, None)
            kind.unknown.discard(name)

    def _pump(self) -> Iterator[Effect]:
        for type_url in ORDER:
            kind = self._types.get(type_url)
            if kind is not None and kind.flight is None:
                send = self._next(type_url, kind)
                if send is not None:
                    yield send

    def _next(self, type_url: TypeUrl, kind: _Type) -> Send | None:
        greeting = kind.wildcard and not kind.greeted
        if not kind.pending and not greeting:
            return None
        put, removed = self._sort_out(type_url, kind)
        if not put and not removed and not greeting:
            return None
        kind.greeted = kind.greeted or kind.wildcard
        self._next_nonce += 1
        nonce = str(self._next_nonce)
        kind.flight = _Flight(nonce, {r.key.name: r for r in put}, frozenset(removed))
        for resource in put:
            kind.held[resource.key.name] = resource.version
            kind.forced.discard(resource.key.name)
        for name in removed:
            kind.held.pop(name, None)
            kind.forced.discard(name)
            if name in kind.names:
                kind.told_absent.add(name)
        return Send(type_url, nonce, tuple(put), tuple(removed))

    def _sort_out(self, type_url: TypeUrl, kind: _Type) -> tuple[list[Resource], list[str]]:
        """Of the pending names, what to send now and what to remove now; the rest waits or goes."""
        put: list[Resource] = []
        absent: set[str] = set()
        for name in sorted(kind.pending):
            resource = self._snapshot.resources.get(ResourceKey(type_url, name))
            if resource is None:
                if name in kind.held or name in kind.forced:
                    absent.add(name)
                elif name in kind.names and name not in kind.told_absent:
                    absent.add(name)  # asked for and not there: say so at once
                else:
                    kind.pending.discard(name)
            elif not self._is_due(kind, resource):
                kind.pending.discard(name)
            elif self._is_ready(resource) and not (put and type_url in _ONE_AT_A_TIME):
                put.append(resource)
                kind.pending.discard(name)
        removed = self._removable(type_url, kind, absent) if absent else []
        kind.pending.difference_update(removed)
        return put, removed

    def _is_due(self, kind: _Type, resource: Resource) -> bool:
        name = resource.key.name
        if not kind.wants(name):
            return False
        if kind.refused.get(name) == resource.version:
            return False  # never again until it changes
        return name in kind.forced or kind.held.get(name) != resource.version

    def _is_ready(self, resource: Resource) -> bool:
        """Whether the proxy has, acknowledged, all that *resource* needs and comes after."""
        if not self._gated:
            return True
        is_there = all(self._has(key) for key in resource.needs)
        return is_there and not any(self._is_awaited(key) for key in resource.after)

    def _has(self, key: ResourceKey) -> bool:
        kind = self._types.get(key.type_url)
        if kind is None or key.name not in kind.applied:
            return False
        return kind.flight is None or key.name not in kind.flight.removed

    def _is_awaited(self, key: ResourceKey) -> bool:
        """Whether the proxy has no endpoints under *key*, and is to get some that it may take."""
        kind, coming = self._types.get(key.type_url), self._snapshot.resources.get(key)
        if kind is None or coming is None or coming.is_empty or not kind.wants(key.name):
            return False
        there = kind.applied.get(key.name)
        return (there is None or there.is_empty) and kind.refused.get(key.name) != coming.version

    def _removable(self, type_url: TypeUrl, kind: _Type, absent: set[str]) -> list[str]:
        """Those of *absent* that nothing in use may need."""
        if not self._gated:
            return sorted(absent)
        if self._may_be_needed(type_url):
            absent -= kind.held.keys()
        return sorted(absent - {key.name for key in self._needed() if key.type_url == type_url})

    def _may_be_needed(self, type_url: TypeUrl) -> bool:
        """Whether the proxy may be using listeners or routes of which we do not know the needs.

        A proxy that connects again asks for clusters first, so what its old routes need is open
        until it has shown those and has taken the new ones. Nothing needs a listener.
        """
        if not self._returning or type_url is TypeUrl.LISTENER:
            return False
        listeners, routes = self._types.get(TypeUrl.LISTENER), self._types.get(TypeUrl.ROUTES)
        if listeners is None or listeners.unknown:
            return True
        if type_url is TypeUrl.ROUTES:
            return False
        return bool(listeners.held if routes is None else routes.unknown)

    def _needed(self) -> Iterator[ResourceKey]:
        for resource in self.in_use():
            yield from resource.needs
        for resource in self._snapshot.resources.values():
            yield from resource.needs
