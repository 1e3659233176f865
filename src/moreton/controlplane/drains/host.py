"""How far the proxies of this node, and of the others, are with what is leaving."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.drains import (
    LEAVING_STATES,
    Leaving,
    Leavings,
    Progress,
    Share,
    decode_shares,
    encode_shares,
)
from moreton.controlplane.drains.counting import Admin, Counts, requests_under_way
from moreton.controlplane.following import in_background
from moreton.controlplane.publishing.publisher import GROUP, PROXYLESS, Publisher
from moreton.envoy.core.resources import ResourceKey, TypeUrl
from moreton.kernel.time import Clock, Instant, SystemClock
from moreton.registry import InstanceChange, InstanceView, Registry, serving
from moreton.registry.errors import InstanceNotRegistered

# How long requests under way may take when nobody says how long to wait.
IDLE_SECONDS_MAX = 30.0
# An Envoy that acknowledged tells its workers, which may be in the middle of a request: nothing is
# under way once two looks in a row, the first of them after the acknowledgement, found nothing.
_LOOKS = 2
_LOOK_SECONDS = 0.04
_LOOK_SECONDS_MAX = 2.0
# How much later than it happened an end is noticed, beside the time that it took to come.
_LATE_SHARE = 0.05
# Envoy's main thread writes its answer: the more hosts it has, the less often it is asked.
_REST_SHARE = 8
# What a node told of the others is written to the store: counts change often and matter little.
_TELL_COUNTS_EVERY = timedelta(seconds=1)
_TOLD_MAX = 500
# The store tells of a registration within milliseconds.
_SEEN_SECONDS_MAX = 1.0
_SEEN_AGAIN_SECONDS = 0.01


class Proxies(Protocol):
    """This machine's Envoy."""

    @property
    def admin(self) -> Admin:
        """To ask it."""
        ...

    @property
    def runs(self) -> bool:
        """Whether it runs, connected or not."""
        ...


class Elsewhere(Protocol):
    """The other nodes, and what they told."""

    def leaving(self) -> Mapping[str, Mapping[str, Any]]:
        """By node what it tells of instances that leave, by `service/id`."""
        ...

    def next_change(self) -> asyncio.Event:
        """Set when they next tell something."""
        ...


class Drains:
    """Knows when nothing more is sent to an instance; `running` must be entered."""

    def __init__(
        self,
        registry: Registry,
        view: InstanceView,
        desired: Desired,
        publisher: Publisher,
        xds: Any,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._registry = registry
        self._view = view
        self._desired = desired
        self._publisher = publisher
        self._xds = xds
        self._clock = clock or SystemClock()
        self.polls_end = False  # whoever asked over the API is answered with what is
        self._leavings = Leavings()
        self._envoy: Proxies | None = None
        self._node = ""
        self._elsewhere: Elsewhere | None = None
        self._tell: Callable[[], None] = lambda: None
        self._counts: Counts | None = None
        self._quiet: dict[tuple[str, str], int] = {}  # looks in a row that found nothing
        self._noted: dict[tuple[str, str], int] = {}  # since when it leaves that is idle
        self._told: dict[str, tuple[Any, dict[str, Any], Instant]] = {}
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._news_at = 0.0  # of the loop's time: when something began to leave, or to be asked for
        self._changed = asyncio.Event()

    def watch(self, envoy: Proxies) -> None:
        """*envoy* is this machine's."""
        self._envoy = envoy

    def share(self, node: str, elsewhere: Elsewhere, tell: Callable[[], None]) -> None:
        """This is *node* of several; *tell* is called when `told` has news for the others."""
        self._node = node
        self._elsewhere = elsewhere
        self._tell = tell

    def apply(self, change: InstanceChange) -> None:
        """Take note of a change of the registry, after the view did."""
        if self._leavings.apply(change):
            known = {_name(each) for each in self._leavings}
            self._quiet = {key: n for key, n in self._quiet.items() if "/".join(key) in known}
            self._noted = {key: n for key, n in self._noted.items() if "/".join(key) in known}
            self._told = {name: each for name, each in self._told.items() if name in known}
            if len(self._leavings):
                self._some.set()
            self._note_news()
            self._wake()

    def progress(self, service: str, instance_id: str) -> Progress:
        """How far the instance has come. Raises `InstanceNotRegistered`."""
        found = next((x for x in self._view.of(service) if x.id == instance_id), None)
        if found is None:
            raise InstanceNotRegistered(service=service, instance_id=instance_id)
        leaving = self._leavings.get(service, instance_id)
        if leaving is None:
            unsure = (self._node or "this one",) if found.state in LEAVING_STATES else ()
            return Progress(service, instance_id, found.state, silent=unsure)
        shares, silent = list(self._shares(leaving)), []
        if self._elsewhere is not None:
            for node, told in self._elsewhere.leaving().items():
                if node == self._node:
                    continue
                theirs = decode_shares(node, told.get(_name(leaving)), leaving)
                if theirs is None:
                    silent.append(node)
                else:
                    shares += theirs
        return Progress(service, instance_id, found.state, tuple(shares), tuple(silent))

    async def wait(
        self, service: str, instance_id: str, until: Callable[[Progress], bool], seconds: float
    ) -> Progress:
        """The progress once *until* holds, or after *seconds*. Raises `InstanceNotRegistered`."""
        deadline = asyncio.get_running_loop().time() + seconds
        await self._see(service, instance_id)
        self._note_news()
        while True:
            events = [self._changed, self._publisher.next_change()]
            if self._elsewhere is not None:
                events.append(self._elsewhere.next_change())
            found = self.progress(service, instance_id)
            left = deadline - asyncio.get_running_loop().time()
            if until(found) or left <= 0:
                return found
            await _any_of(events, left)

    def end_polls(self) -> None:
        """The API stops: let nobody who asked it wait any longer."""
        self.polls_end = True
        self._wake()

    async def _see(self, service: str, instance_id: str) -> None:
        """Return once this node has seen what was registered just now, maybe at another one."""
        until = asyncio.get_running_loop().time() + _SEEN_SECONDS_MAX
        while not any(each.id == instance_id for each in self._view.of(service)):
            there = (await self._registry.instances(service)).instances
            known = any(each.id == instance_id for each in there)
            if not known or asyncio.get_running_loop().time() >= until:
                return
            await asyncio.sleep(_SEEN_AGAIN_SECONDS)

    async def wait_idle(self, service: str, instance_id: str) -> None:
        """Return once nothing is sent to the instance, after half a minute at the latest."""
        await self.wait(service, instance_id, lambda found: found.idle, IDLE_SECONDS_MAX)

    def note_idle(self, service: str, instance_id: str) -> Leaving | None:
        """The leaving instance, the first time that it is asked for."""
        leaving = self._leavings.get(service, instance_id)
        if leaving is None or self._noted.get((service, instance_id)) == leaving.revision:
            return None
        self._noted[service, instance_id] = leaving.revision
        return leaving

    def told(self) -> dict[str, Any]:
        """What this node tells the others of what is leaving, by `service/id`."""
        told: dict[str, Any] = {}
        now = self._clock.now()
        for leaving in list(self._leavings)[:_TOLD_MAX]:
            name, shares = _name(leaving), list(self._shares(leaving))
            what = [(x.proxy, x.acknowledged, x.requests is None, x.requests == 0) for x in shares]
            before = self._told.get(name)
            if before is not None and before[0] == what and before[2] > now:
                told[name] = before[1]
                continue
            told[name] = encode_shares(shares, leaving.revision)
            self._told[name] = (what, told[name], now + _TELL_COUNTS_EVERY)
        return told

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look at Envoy while something is leaving; until left."""
        async with (
            in_background(self._look(), name="look at what is leaving"),
            in_background(self._note_acknowledgements(), name="note who acknowledged"),
        ):
            yield

    def _shares(self, leaving: Leaving) -> Iterator[Share]:
        """Of each proxy of this node that knows the service."""
        instance = leaving.instance
        services = self._services(leaving)
        shared = any(
            each.endpoint == instance.endpoint for each in serving(self._view.of(instance.service))
        )
        envoys = 0
        for proxy in self._xds.proxies():
            is_envoy = proxy.group == GROUP
            if proxy.group not in {GROUP, PROXYLESS}:
                continue
            envoys += is_envoy
            # A gRPC client has what it asked for; an Envoy has everything.
            had = [name for name in services if is_envoy or _key(name) in proxy.versions]
            if not had:
                continue
            acknowledged = shared or not any(
                self._publisher.senders.may_send(
                    name, proxy.versions.get(_key(name), ""), instance.endpoint
                )
                for name in had
            )
            counts = is_envoy and not shared
            requests = self._requests(leaving, had) if counts and acknowledged else None
            yield Share(self._node, proxy.node or "without a name", acknowledged, requests, counts)
        if services and not envoys and self._envoy is not None and self._envoy.runs:
            yield Share(self._node, "Envoy, which is not connected", False, None)

    def _requests(self, leaving: Leaving, services: Sequence[str]) -> int | None:
        """What Envoy has under way there; `None` until that is sure."""
        if self._counts is None:
            return None
        endpoint = leaving.instance.endpoint
        found = sum(self._counts.get((service, endpoint), 0) for service in services)
        return None if found == 0 and self._quiet.get(_pair(leaving), 0) < _LOOKS else found

    async def _look(self) -> None:
        """Ask Envoy, for as long as something is leaving."""
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            if not len(self._leavings):
                self._some.clear()
                self._counts = None
                continue
            before = {_pair(each) for each in self._leavings if self._is_acknowledged(each)}
            began = loop.time()
            envoy = self._envoy
            known = {name for each in self._leavings for name in self._services(each)}
            self._counts = None if envoy is None else await requests_under_way(envoy.admin, known)
            took = loop.time() - began
            for leaving in self._leavings:
                self._note_quiet(leaving, was_acknowledged=_pair(leaving) in before)
            self._wake()
            # Soon after a change, and while somebody waits, a request's end is noticed at once; an
            # instance that is in maintenance for days is looked at now and then.
            age = loop.time() - self._news_at
            pause = min(
                max(_LOOK_SECONDS, took * _REST_SHARE, age * _LATE_SHARE), _LOOK_SECONDS_MAX
            )
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurry.wait()

    def _note_news(self) -> None:
        if self._news_at + _LOOK_SECONDS_MAX < asyncio.get_running_loop().time():
            self._hurry.set()
        self._news_at = asyncio.get_running_loop().time()

    def _note_quiet(self, leaving: Leaving, *, was_acknowledged: bool) -> None:
        endpoint = leaving.instance.endpoint
        counts = self._counts
        is_quiet = counts is not None and not any(
            counts.get((each, endpoint)) for each in self._services(leaving)
        )
        pair = _pair(leaving)
        if is_quiet and was_acknowledged:
            self._quiet[pair] = self._quiet.get(pair, 0) + 1
        else:
            self._quiet.pop(pair, None)

    def _services(self, leaving: Leaving) -> Sequence[str]:
        """Those that send to the instance: that discover it, or whose address it is."""
        return self._desired.registered_as(leaving.instance.service)

    def _is_acknowledged(self, leaving: Leaving) -> bool:
        return all(share.acknowledged for share in self._shares(leaving))

    async def _note_acknowledgements(self) -> None:
        """Tell the others as soon as a proxy of this node acknowledged."""
        while True:
            await self._publisher.next_change().wait()
            if len(self._leavings):
                self._tell()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._tell()


async def _any_of(events: Sequence[asyncio.Event], seconds: float) -> None:
    waits = [asyncio.ensure_future(each.wait()) for each in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


def _key(service: str) -> ResourceKey:
    return ResourceKey(TypeUrl.ENDPOINTS, service)


def _pair(leaving: Leaving) -> tuple[str, str]:
    return leaving.instance.service, leaving.instance.id


def _name(leaving: Leaving) -> str:
    return "/".join(_pair(leaving))
