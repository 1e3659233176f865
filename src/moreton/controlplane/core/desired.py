"""What is desired, merged from `moreton.yaml`, the API's objects and the API's weights.

Precedence, strongest first:

1. weights set by the API, for a route whose destinations are the ones they were set for;
2. objects of `moreton.yaml`;
3. objects put by the API under a name that the file does not define.

An object that refers to something nobody defines, or that clashes, is not in force; `problem`
says why. Every change returns the keys of the objects whose effective value may have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from moreton.controlplane.core.objects import Definition, Kind, ObjectKey, Origin, Value
from moreton.gateway.core.model import Destination, Gateway, Route, Service
from moreton.gateway.core.moves import Move

_Said: TypeAlias = tuple[Route, Mapping[str, int] | None, Move | None]


@dataclass(slots=True)
class Desired:
    """The merged objects. Looking one up is O(1) in the number of objects."""

    _file: dict[ObjectKey, Definition] = field(default_factory=dict)
    _api: dict[ObjectKey, Definition] = field(default_factory=dict)
    _weights: dict[str, Mapping[str, int]] = field(default_factory=dict)
    _moves: dict[str, Move] = field(default_factory=dict)
    # What the parts of a route said when it was made of them, and the route.
    _made: dict[str, tuple[_Said, Route]] = field(default_factory=dict)
    _users: dict[str, set[str]] = field(
        default_factory=dict
    )  # service -> routes that name or named it
    _registered: dict[str, list[str]] | None = None  # as `registered_as` answers

    def replace_file(self, definitions: Mapping[ObjectKey, Definition]) -> set[ObjectKey]:
        """The file now defines exactly *definitions*."""
        before = self._file
        self._file = dict(definitions)
        changed = {
            key
            for key in before.keys() | self._file.keys()
            if _value(before.get(key)) != _value(self._file.get(key))
        }
        return self._with_users(changed)

    def put_object(self, key: ObjectKey, value: Value) -> set[ObjectKey]:
        """The API put *value*."""
        self._api[key] = Definition(value, Origin.API)
        return self._with_users({key})

    def delete_object(self, key: ObjectKey) -> set[ObjectKey]:
        """The API deleted it; harmless when it was not there."""
        self._api.pop(key, None)
        return self._with_users({key})

    def put_weights(self, route: str, weights: Mapping[str, int]) -> set[ObjectKey]:
        """The API set the weights of *route*."""
        self._weights[route] = dict(weights)
        return {ObjectKey(Kind.ROUTE, route)}

    def delete_weights(self, route: str) -> set[ObjectKey]:
        """The API took its weights of *route* back."""
        self._weights.pop(route, None)
        return {ObjectKey(Kind.ROUTE, route)}

    def put_move(self, route: str, move: Move | None) -> set[ObjectKey]:
        """Who goes where while *route* moves; `None` when it does not."""
        if move is None:
            self._moves.pop(route, None)
        else:
            self._moves[route] = move
        return {ObjectKey(Kind.ROUTE, route)}

    def definition(self, key: ObjectKey) -> Definition | None:
        """Who defines *key* and how, before weights."""
        return self._file.get(key) or self._api.get(key)

    def is_of_api(self, key: ObjectKey) -> bool:
        """Whether the API put *key*, in force or shadowed by the file."""
        return key in self._api

    def shadowed(self, key: ObjectKey) -> bool:
        """Whether the API put *key* and the file has it too, so that the API's counts for nothing.

        It counts again when the file defines it no more.
        """
        return key in self._file and key in self._api

    def keys(self, kind: Kind) -> list[ObjectKey]:
        """The defined objects of *kind*, by name."""
        return sorted(key for key in self._file.keys() | self._api.keys() if key.kind is kind)

    def effective(self, key: ObjectKey) -> Value | None:
        """The value that should be in force; `None` when undefined or when it has a problem."""
        if self.problem(key):
            return None
        return self.weighted(key)

    def weighted(self, key: ObjectKey) -> Value | None:
        """The value as defined, with the API's weights and the move under way where they count."""
        definition = self.definition(key)
        value = None if definition is None else definition.value
        if not isinstance(value, Route):
            if key.kind is Kind.ROUTE:
                self._made.pop(key.name, None)
            return value
        said = (value, self._weights.get(key.name), self._moves.get(key.name))
        if said[1] is None and said[2] is None:
            self._made.pop(key.name, None)
            return value
        made = self._made.get(key.name)
        # It is asked for many times between two changes.
        if made is None or any(one is not other for one, other in zip(made[0], said, strict=True)):
            made = self._made[key.name] = (said, self._moved(value, said[2]))
        return made[1]

    def _moved(self, value: Route, move: Move | None) -> Route:
        if move is not None and len(value.to) > 1 and move.to in {d.service for d in value.to}:
            value = replace(value, move=move)
        weights = self.weights_set(value.name)
        if weights is None:
            return value
        return replace(
            value, to=tuple(Destination(d.service, weights[d.service]) for d in value.to)
        )

    def weights_set(self, route: str) -> Mapping[str, int] | None:
        """The API's weights of *route*, if there are any and they fit its destinations."""
        weights = self._weights.get(route)
        if weights is None:
            return None
        definition = self.definition(ObjectKey(Kind.ROUTE, route))
        if definition is None or not isinstance(definition.value, Route):
            return None
        fits = weights.keys() == {destination.service for destination in definition.value.to}
        return weights if fits else None

    def stale_weights(self) -> list[str]:
        """The routes whose API weights no longer fit their destinations, or that are gone."""
        return sorted(route for route in self._weights if self.weights_set(route) is None)

    def problem(self, key: ObjectKey) -> str:
        """Why the defined object cannot be in force; empty when it can."""
        definition = self.definition(key)
        if definition is None or not isinstance(definition.value, Route):
            return ""
        return self.missing(definition.value)

    def missing(self, route: Route) -> str:
        """What *route* names that nobody defines, as a sentence; empty when all is there."""
        for service in services_of(route):
            if self.definition(ObjectKey(Kind.SERVICE, service)) is None:
                return (
                    f'route "{route.name}" sends to service "{service}", which no one defines: '
                    "not published; define the service or change the route"
                )
        for gateway in sorted(route.gateways):
            if self.definition(ObjectKey(Kind.GATEWAY, gateway)) is None:
                return (
                    f'route "{route.name}" is for gateway "{gateway}", which no one defines: '
                    "not published; define the gateway in moreton.yaml or change the route"
                )
        return ""

    def users_of(self, service: str) -> list[str]:
        """The defined routes that name *service*."""
        return sorted(
            name for name in self._users.get(service, ()) if service in self._services_of(name)
        )

    def routes(self) -> Iterator[Route]:
        """The routes as defined, with the API's weights where they count."""
        for key in self.keys(Kind.ROUTE):
            value = self.weighted(key)
            if isinstance(value, Route):
                yield value

    def services(self) -> Iterator[Service]:
        """The services as defined."""
        for key in self.keys(Kind.SERVICE):
            definition = self.definition(key)
            if definition is not None and isinstance(definition.value, Service):
                yield definition.value

    def registered_as(self, name: str) -> Sequence[str]:
        """The services whose instances are those that the registry has under *name*."""
        if self._registered is None:
            self._registered = {}
            for service in self.services():
                self._registered.setdefault(service.discover or service.name, []).append(
                    service.name
                )
        return self._registered.get(name, ())

    def gateways(self) -> Iterator[Gateway]:
        """The gateways as defined."""
        for key in self.keys(Kind.GATEWAY):
            definition = self.definition(key)
            if definition is not None and isinstance(definition.value, Gateway):
                yield definition.value

    def _with_users(self, changed: set[ObjectKey]) -> set[ObjectKey]:
        """*changed*, and the routes whose problem may come or go with them."""
        for key in changed:
            if key.kind is Kind.ROUTE:
                self._note_users(key.name)
        affected = set(changed)
        for key in changed:
            if key.kind is Kind.SERVICE:
                self._registered = None
                names: Iterable[str] = self._users.get(key.name, ())
                affected.update(ObjectKey(Kind.ROUTE, name) for name in names)
        return affected

    def _note_users(self, route: str) -> None:
        for service in self._services_of(route):
            self._users.setdefault(service, set()).add(route)

    def _services_of(self, route: str) -> list[str]:
        definition = self.definition(ObjectKey(Kind.ROUTE, route))
        if definition is None or not isinstance(definition.value, Route):
            return []
        return services_of(definition.value)


def services_of(route: Route) -> list[str]:
    """The services that *route* sends to, mirrors included; each once."""
    named = [destination.service for destination in route.to]
    named += [mirror.service for mirror in route.mirrors]
    return list(dict.fromkeys(named))


def _value(definition: Definition | None) -> Value | None:
    return None if definition is None else definition.value
