"""The loop that brings what is desired to the proxies, and takes back what they refuse.

Idle, a change is compiled and published at once. Busy, changes gather while one pass runs and while
the loop rests as long as that pass took, so that compiling never takes more than half of a core.

An object that a proxy refuses is taken back to its last good value (or out, when it never had one)
and stays so until its definition changes: other objects go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moreton.controlplane.core.desired import Desired, services_of
from moreton.controlplane.core.objects import Kind, ObjectKey, State, Status, Value, worst
from moreton.controlplane.core.proving import Proving
from moreton.controlplane.publishing.compiled import Compiled
from moreton.controlplane.publishing.culprits import find_culprits
from moreton.controlplane.publishing.ports import Preflight, Xds
from moreton.controlplane.publishing.senders import Senders, place
from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.gateway.core.model import Route
from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Clock
from moreton.ratelimit.core.rules.values import LimitRule

_LOG = logging.getLogger("moreton.controlplane")
GROUP = "moreton"
# The group of gRPC clients, as the xDS server has it.
PROXYLESS = "proxyless"
# After a pass the loop rests as long as the pass took, at most this long.
_REST_MAX = timedelta(milliseconds=50)
# Whether a proxy would take something could not be found out: after so long it is tried again.
_ASK_AGAIN = timedelta(seconds=1)
# Objects that have a resource in common with others.
_SHARING = frozenset({Kind.ROUTE, Kind.LIMIT})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A value that a proxy refused, and why."""

    value: Value
    reason: str


class Publisher:
    """Keeps the proxies at what *desired* says; `run` must be running."""

    def __init__(
        self,
        desired: Desired,
        compiled: Compiled,
        xds: Xds,
        *,
        preflight: Preflight,
        clock: Clock,
        notice: Callable[[ObjectKey], None] = lambda _: None,
    ) -> None:
        self.desired = desired
        self.compiled = compiled
        self.refused: dict[ObjectKey, Refusal] = {}
        self.passes = 0
        self.senders = Senders()
        self._xds = xds
        self._preflight = preflight
        self._clock = clock
        self._notice = notice
        self._proving = Proving()
        self._dirty: set[ObjectKey] = set()
        self._dirty_endpoints: set[str] = set()
        self._work = asyncio.Event()
        self._passed = asyncio.Event()
        self._changed = asyncio.Event()
        self._searching: dict[ResourceKey, asyncio.Task[None]] = {}
        self._judged: dict[ResourceKey, str] = {}  # the refused version whose culprits are known

    def touch(self, keys: Iterable[ObjectKey]) -> None:
        """The effective values of *keys* may have changed."""
        self._dirty.update(keys)
        if self._dirty:
            self._work.set()

    def touch_endpoints(self, services: Iterable[str]) -> None:
        """The instances of *services* changed."""
        self._dirty_endpoints.update(services)
        if self._dirty_endpoints:
            self._work.set()

    def proxies(self) -> list[Any]:
        """The connected proxies that this publisher publishes to."""
        return [proxy for proxy in self._xds.proxies() if proxy.group == GROUP]

    def check_proxies(self) -> None:
        """Something became of a publication: take note. To be called on the xDS server's notice."""
        self._note_proven()
        self._changed.set()
        self._changed = asyncio.Event()
        for proxy in self.proxies():
            for key, (version, reason) in list(proxy.rejected.items()):
                self._on_rejected(key, version, reason)

    async def run(self) -> None:
        """Compile and publish whenever there is something to; until cancelled."""
        while True:
            await self._work.wait()
            start = self._clock.now()
            try:
                self.publish_now()
            except Exception:  # noqa: BLE001 - a dead loop would keep all later changes from traffic
                _LOG.exception("a change could not be published; what was there goes on")
                self._end_pass()
            took = self._clock.now() - start
            await asyncio.sleep(min(took, _REST_MAX).total_seconds())

    def publish_now(self) -> None:
        """One pass: compile all that is dirty, publish what came of it."""
        self._work.clear()
        dirty, self._dirty = self._dirty, set()
        endpoints, self._dirty_endpoints = self._dirty_endpoints, set()
        before: dict[ObjectKey, Value | None] = {}
        # Services before the routes that need them: what a route's problem is depends on them.
        for key in sorted(dirty, key=_order):
            former = self.compiled.values.get(key)
            if self._compile(key):
                before[key] = former
        for service in endpoints:
            self._refresh(service)
        changed, removed = self.compiled.take()
        if changed or removed:
            self._remember(changed, before)
            self._xds.publish(GROUP, self.compiled.snapshot)
            self._note_senders(changed, removed)
        self.passes += 1
        self._end_pass()
        for key in dirty:
            self._notice(key)

    def _end_pass(self) -> None:
        self._passed.set()
        self._passed = asyncio.Event()

    async def wait_published(self) -> None:
        """Return once everything touched so far was published."""
        while self._dirty or self._dirty_endpoints:
            await self._passed.wait()

    def touch_all(self) -> None:
        """Resources changed that belong to no object, such as a certificate's content."""
        self._work.set()

    def next_change(self) -> asyncio.Event:
        """Set when a proxy next acknowledges or refuses something, connects or leaves."""
        return self._changed

    def status(self, key: ObjectKey) -> Status:
        """How far *key* has come."""
        if self.desired.definition(key) is None:
            return Status(State.REJECTED, reason=f"{key} is not defined")
        problem = self.desired.problem(key) or self._waits_for(key)
        if problem:
            return Status(State.REJECTED, reason=problem)
        refusal = self.refused.get(key)
        if refusal is not None:
            return Status(State.REJECTED, reason=refusal.reason)
        found = [self._status_of(key, each) for each in self.compiled.resources_of(key)]
        return worst(found) if found else Status(State.PENDING)

    @property
    def settled(self) -> bool:
        """Whether every publication was acknowledged by every proxy, and there is a proxy."""
        busy = self._dirty or self._dirty_endpoints or self._searching
        return not busy and not any(self._proving.waiting()) and bool(self.proxies())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """`run` in the background; its searches for culprits end with it."""
        task = asyncio.create_task(self.run(), name="publisher")
        try:
            yield
        finally:
            tasks = [task, *self._searching.values()]
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _compile(self, key: ObjectKey) -> bool:
        """Whether more than weights changed. What cannot be compiled is refused like the rest."""
        wanted = self._wanted(key)
        try:
            return self.compiled.set(key, wanted)
        except MoretonError as error:  # a certificate that went away, say
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - one object must not stop the others
            _LOG.exception("%s cannot be compiled", key)
            reason = f"moreton itself failed, {type(error).__name__}: see the log"
        if wanted is not None:
            self.refused[key] = Refusal(wanted, reason)
        return False

    def _refresh(self, service: str) -> None:
        try:
            self.compiled.refresh_endpoints(service)
        except Exception:  # noqa: BLE001 - one service must not stop the others
            _LOG.exception("the instances of %s cannot be compiled: those before stay", service)

    def _wanted(self, key: ObjectKey) -> Value | None:
        value = self.desired.effective(key)
        refusal = self.refused.get(key)
        if refusal is not None:
            if refusal.value == value:
                return self.compiled.values.get(key)
            del self.refused[key]
        if value is not None and self._waits_for(key):
            return self.compiled.values.get(key)
        return value

    def _waits_for(self, key: ObjectKey) -> str:
        """The refused service that keeps a route from being published."""
        value = self.desired.weighted(key)
        if not isinstance(value, Route):
            return ""
        for name in services_of(value):
            service = ObjectKey(Kind.SERVICE, name)
            if service in self.refused and service not in self.compiled.values:
                return f'it sends to service "{name}", which is refused'
        return ""

    def _remember(self, changed: Sequence[Resource], before: dict[ObjectKey, Value | None]) -> None:
        shared = {key: value for key, value in before.items() if key.kind in _SHARING}
        for resource in changed:
            # The same again, after something else, is refused again, and judged again.
            self._judged.pop(resource.key, None)
            match resource.key.type_url:
                case TypeUrl.ROUTES | TypeUrl.EXTENSION:
                    mine = dict(self._those_in(resource.key, shared))
                    self._proving.published(resource.key, resource.version, mine)
                case TypeUrl.CLUSTER | TypeUrl.ENDPOINTS:
                    owner = ObjectKey(Kind.SERVICE, resource.key.name)
                    mine = {owner: before.get(owner)}
                    self._proving.published(resource.key, resource.version, mine)
                case TypeUrl.LISTENER:
                    owner = ObjectKey(Kind.GATEWAY, resource.key.name.rsplit("/", 1)[0])
                    mine = {owner: before.get(owner)}
                    self._proving.published(resource.key, resource.version, mine)
                case _:
                    self._proving.published(resource.key, resource.version, {})

    def _note_senders(self, changed: Sequence[Resource], removed: Sequence[ResourceKey]) -> None:
        for key in removed:
            if key.type_url is TypeUrl.ENDPOINTS:
                self.senders.removed(key.name)
        for resource in changed:
            if resource.key.type_url is TypeUrl.ENDPOINTS:
                name = resource.key.name
                # What gRPC clients are told of the service is another version of the same.
                told = self._xds.status(PROXYLESS, resource.key).version
                members = self.compiled.members.get(name, ())
                sent_to = [place(x.address.host, x.address.port) for x in members if x.healthy]
                self.senders.published(name, [resource.version, told], sent_to)

    def _those_in(
        self, resource: ResourceKey, changed: dict[ObjectKey, Value | None]
    ) -> Iterable[tuple[ObjectKey, Value | None]]:
        """Those of *changed* that *resource* carries now, or carried before."""
        for key, former in changed.items():
            if any(
                resource in self.compiled.names_of(value)
                for value in (former, self.compiled.values.get(key))
            ):
                yield key, former

    def _note_proven(self) -> None:
        for waiting in self._proving.waiting():
            assert isinstance(waiting, ResourceKey)
            if waiting not in self.compiled.snapshot.resources:
                self._proving.drop(waiting)
                continue
            status = self._xds.status(GROUP, waiting)
            if status.state == State.APPLIED:
                for key in self._proving.acknowledged(waiting, status.version):
                    self._notice(key)

    def _on_rejected(self, key: ResourceKey, version: str, reason: str) -> None:
        published = self.compiled.snapshot.resources.get(key)
        if published is None or published.version != version or key in self._searching:
            return
        if self._judged.get(key) == version:
            return  # what follows from it is on its way
        suspects = self._proving.suspects(key, version)
        if not suspects:
            return
        if len(suspects) == 1:
            self._judged[key] = version
            self._refuse(key, {next(iter(suspects)): reason}, suspects)
            return
        search = self._search(key, version, reason, suspects)
        task = asyncio.create_task(search, name=f"search {key.name}")
        self._searching[key] = task

    async def _search(
        self,
        key: ResourceKey,
        version: str,
        reason: str,
        suspects: dict[ObjectKey, Value | None],
    ) -> None:
        try:
            await self._find(key, version, reason, suspects)
        except Exception as error:  # noqa: BLE001 - else nobody would look for the culprit again
            _LOG.warning("who spoils %s is not known, and is asked again: %s", key.name, error)
            await asyncio.sleep(_ASK_AGAIN.total_seconds())
        finally:
            self._searching.pop(key, None)
        self.check_proxies()

    async def _find(
        self,
        key: ResourceKey,
        version: str,
        reason: str,
        suspects: dict[ObjectKey, Value | None],
    ) -> None:
        judged = {each: self._value(each) for each in suspects}
        # A table is spoiled by a route, filters by a limit.
        kind = Kind.LIMIT if key.type_url is TypeUrl.EXTENSION else Kind.ROUTE
        tried = [
            value
            for each, value in judged.items()
            if each.kind is kind and isinstance(value, Route | LimitRule)
        ]
        found = await find_culprits(tried, self._preflight)
        culprits = {ObjectKey(kind, name): why for name, why in found.items()}
        if not culprits:
            together = f"refused together with {len(suspects) - 1} other changes: {reason}"
            culprits = dict.fromkeys(suspects, together)
        # What was changed during the search is another matter.
        culprits = {
            each: why
            for each, why in culprits.items()
            if self._value(each) == self.desired.effective(each) == judged[each]
        }
        self._judged[key] = version
        published = self.compiled.snapshot.resources.get(key)
        if culprits and published is not None:
            # What was published meanwhile holds them, too: its refusal blames nobody else.
            self._judged[key] = published.version
        self._refuse(key, culprits, suspects)

    def _value(self, key: ObjectKey) -> Value | None:
        return self.compiled.values.get(key)

    def _refuse(
        self,
        resource: ResourceKey,
        culprits: dict[ObjectKey, str],
        suspects: dict[ObjectKey, Value | None],
    ) -> None:
        """Take *culprits* back to their last good, and go on with everything else."""
        touched = set()
        for key, reason in culprits.items():
            value = self.desired.effective(key)
            if value is not None:
                self.refused[key] = Refusal(value, reason)
            self.compiled.set(key, suspects.get(key))
            touched.add(key)
            if key.kind is Kind.SERVICE:
                users = self.desired.users_of(key.name)
                touched.update(ObjectKey(Kind.ROUTE, name) for name in users)
        self._proving.forget(resource, culprits)
        self.touch(touched)

    def _status_of(self, key: ObjectKey, resource: ResourceKey) -> Status:
        found = self._xds.status(GROUP, resource)
        is_shared = resource.type_url in {TypeUrl.ROUTES, TypeUrl.EXTENSION}
        if is_shared and not self._proving.is_unproven(resource, key):
            # Whatever the table waits for, it is not this one.
            if found.proxies:
                return Status(State.APPLIED, found.proxies, found.proxies)
            return Status(State.PENDING)
        if is_shared and found.state == State.REJECTED:
            # The culprit is being looked for; whoever it is will be in `refused`.
            return Status(State.PENDING, found.applied, found.proxies)
        return Status(State(found.state), found.applied, found.proxies, found.reason)


def _order(key: ObjectKey) -> tuple[int, str]:
    return (list(Kind).index(key.kind), key.name)
