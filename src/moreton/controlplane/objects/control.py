"""What the API may change: checked, stored, then followed from the store like anyone's change."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Kind, ObjectKey, Origin, State, Value
from moreton.controlplane.errors import (
    ChangesContended,
    DefinedInFile,
    NotApplied,
    ObjectInUse,
    ObjectNotValid,
    Rejected,
    UnknownObject,
    WeightsNotValid,
)
from moreton.controlplane.objects.follow import Follower
from moreton.controlplane.objects.keys import CHANGED, encode, object_key, weights_key
from moreton.controlplane.publishing import Publisher
from moreton.gateway.core.model import Route
from moreton.store import Compare, Delete, Put, Store

# Envoy wants the sum of the weights to fit 32 bits; far more than anyone needs.
WEIGHT_MAX = 1_000_000
WAIT_SECONDS = 10.0
# Changes are rare beside the milliseconds that one takes: so many losses are no chance.
_ATTEMPTS_MAX = 16

# Why the route clashes with another, naming both; empty when it does not.
Clash: TypeAlias = Callable[[Route], str]


class Elsewhere(Protocol):
    """The other nodes that serve the same objects."""

    async def wait_applied(self, key: ObjectKey, revision: int) -> None:
        """Return once all of them have *key* in force as of *revision*. Raises `Rejected`."""
        ...

    def behind(self, revision: int) -> list[str]:
        """Those that do not have everything up to *revision* yet."""
        ...


class Control:
    """The changes that the API offers. Every method raises errors of `controlplane.errors`.

    A change is checked against everything that was stored before it, by whichever node, and
    checked anew when another one came between. *guard* surrounds each write, to take note of a
    failing disk.
    """

    def __init__(
        self,
        store: Store,
        follower: Follower,
        publisher: Publisher,
        *,
        parse: Callable[[ObjectKey, Mapping[str, Any]], Value],
        clash: Clash,
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.elsewhere: Elsewhere | None = None  # without others
        self.follower = follower
        self.publisher = publisher
        self._store = store
        self._parse = parse
        self._clash = clash
        self._guard = guard

    def share(self, elsewhere: Elsewhere) -> None:
        """The same objects are served *elsewhere* as well: a change is in force when it is there.

        A shared store's troubles are its nodes' to notice, and end by themselves.
        """
        self.elsewhere = elsewhere
        self._guard = nullcontext

    @property
    def desired(self) -> Desired:
        """What is desired now."""
        return self.publisher.desired

    async def put(self, key: ObjectKey, document: Mapping[str, Any]) -> bool:
        """Define *key* by *document*, as `moreton.yaml` would; whether it is new."""
        self._refuse_file(key)
        value = self._parse(key, document)
        new = False

        def decide() -> list[Put | Delete]:
            nonlocal new
            self._refuse_file(key)
            if isinstance(value, Route):
                fault = self.desired.missing(value) or self._clash(value)
                if fault:
                    raise ObjectNotValid(fault)
            new = self.desired.definition(key) is None
            operations: list[Put | Delete] = [Put(object_key(key), encode(document))]
            if key.kind is Kind.ROUTE:
                # The weights in the document are the newest word.
                operations.append(Delete(weights_key(key.name)))
            return operations

        await self._write(decide)
        return new

    async def delete(self, key: ObjectKey) -> None:
        """Define *key* no more."""

        def decide() -> list[Put | Delete]:
            self._refuse_file(key)
            self.require(key)
            if key.kind is Kind.SERVICE:
                users = [f'route "{name}"' for name in self.desired.users_of(key.name)]
                if users:
                    raise ObjectInUse(what=str(key), users=users)
            operations: list[Put | Delete] = [Delete(object_key(key))]
            if key.kind is Kind.ROUTE:
                operations.append(Delete(weights_key(key.name)))
            return operations

        await self._write(decide)

    async def put_weights(self, route: str, weights: Mapping[str, int]) -> None:
        """Share the requests of *route* by *weights*, which name all its destinations."""

        def decide() -> list[Put | Delete]:
            self._check_weights(route, weights)
            return [Put(weights_key(route), encode(weights))]

        await self._write(decide)

    async def delete_weights(self, route: str) -> None:
        """Go back to the weights that the route is defined with."""

        def decide() -> list[Put | Delete]:
            self.require_route(route)
            return [Delete(weights_key(route))]

        await self._write(decide)

    async def wait_applied(self, key: ObjectKey, seconds: float = WAIT_SECONDS) -> None:
        """Return once every proxy has *key* in force. Raises `NotApplied`, `Rejected`."""
        revision = self.follower.revision
        try:
            async with asyncio.timeout(seconds):
                await self._wait(key)
                if self.elsewhere is not None:
                    await self.elsewhere.wait_applied(key, revision)
        except TimeoutError as error:
            status = self._how_far(key, revision)
            raise NotApplied(what=str(key), status=status, seconds=seconds) from error

    def require(self, key: ObjectKey) -> Value:
        """The value of *key*. Raises `UnknownObject` with a name that looks like it."""
        value = self.desired.weighted(key)
        if value is None:
            names = [each.name for each in self.desired.keys(key.kind)]
            similar = difflib.get_close_matches(key.name, names, n=1)
            raise UnknownObject(what=str(key), similar=f'"{similar[0]}"' if similar else "")
        return value

    def require_route(self, name: str) -> Route:
        """The route *name*, with the weights in force. Raises `UnknownObject`."""
        value = self.require(ObjectKey(Kind.ROUTE, name))
        assert isinstance(value, Route)
        return value

    async def _wait(self, key: ObjectKey) -> None:
        while True:
            changed = self.publisher.next_change()
            await self.publisher.wait_published()
            status = self.publisher.status(key)
            if status.state is State.APPLIED:
                return
            if status.state is State.REJECTED:
                raise Rejected(what=str(key), reason=status.reason)
            await changed.wait()

    def _how_far(self, key: ObjectKey, revision: int) -> str:
        status = self.publisher.status(key)
        behind = [] if self.elsewhere is None else self.elsewhere.behind(revision)
        if status.state is not State.APPLIED or not behind:
            return str(status)
        return f"{status} here, not yet on node {', '.join(behind)}"

    async def _write(self, decide: Callable[[], Sequence[Put | Delete]]) -> None:
        """Store what *decide* says about the newest state; again when that was overtaken."""
        for _ in range(_ATTEMPTS_MAX):
            with self._guard():
                seen = await self._catch_up()
                operations = [*decide(), Put(CHANGED, b"")]
                unchanged = Compare.mod(CHANGED, "=", seen)
                written = await self._store.txn([unchanged], operations)
            if written.succeeded:
                await self.follower.wait_revision(written.revision)
                return
        raise ChangesContended(attempts=_ATTEMPTS_MAX)

    async def _catch_up(self) -> int:
        """See every change that was stored until now; the revision of the last one."""
        found = await self._store.range(CHANGED)
        last = found.kvs[0].mod_revision if found.kvs else 0
        await self.follower.wait_revision(last)
        return last

    def _refuse_file(self, key: ObjectKey) -> None:
        definition = self.desired.definition(key)
        if definition is not None and definition.origin is Origin.FILE:
            raise DefinedInFile(what=str(key), where=definition.where)

    def _check_weights(self, name: str, weights: Mapping[str, int]) -> None:
        route = self.require_route(name)
        wanted = [destination.service for destination in route.to]
        if not wanted:
            raise WeightsNotValid(
                f'route "{name}" redirects and has no destinations, so it takes no weights; '
                "give it destinations first"
            )
        if weights.keys() != set(wanted):
            raise WeightsNotValid(
                f'route "{name}" sends to {", ".join(wanted)}, and the weights name '
                f"{', '.join(weights) or 'none'}: not changed; name each destination once"
            )
        bad = [weight for weight in weights.values() if not 0 <= weight <= WEIGHT_MAX]
        if bad or not any(weights.values()):
            what = f"{bad[0]} is not a weight" if bad else "all weights are 0"
            raise WeightsNotValid(
                f'{what}: route "{name}" would not know where to send; '
                f"use whole numbers from 0 to {WEIGHT_MAX}, at least one above 0"
            )
