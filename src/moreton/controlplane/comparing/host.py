"""Comparisons as a node has them: what its proxy copies, what its collector is told and tells."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from moreton.controlplane.comparing.records import (
    SHARES,
    counts_key,
    counts_prefix,
    decode_counts,
    decode_heard,
    encode_counts,
    encode_heard,
    heard_key,
    sampling,
    share_from,
)
from moreton.gateway.core.model import Address, Endpoint, Route
from moreton.kernel.patterns import PathKind
from moreton.kernel.time import Clock, Instant, SystemClock
from moreton.store import Put, Store, prefix_end
from moreton.store.core.model import Op
from moreton.store.errors import Compacted, StoreError
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.documents import Task, counts_from, task_document
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.strangler.compare.core.questions import Rewriting

_LOG = logging.getLogger("moreton.controlplane")
# A collector tells of itself four times a second; one that is silent for so long costs nothing.
SILENT = timedelta(seconds=1)
_LOOK_SECONDS = 0.25
_WRITE_EVERY = timedelta(seconds=1)


class Proxy(Protocol):
    """Whom shares are told."""

    def put_copied(self, route: str, share: float) -> None:
        """So many of *route*'s requests are copied."""
        ...


class Comparisons:
    """What *live* says is compared, by route, by the collector of this *node*.

    A share is published while the collector is heard of, and is 0 otherwise. `run` and `follow`
    must be running.
    """

    def __init__(
        self,
        store: Store,
        live: Callable[[], Mapping[str, Live]],
        routes: Callable[[], Mapping[str, Route]],
        *,
        endpoints: Callable[[str], Sequence[Endpoint]],
        clock: Clock | None = None,
    ) -> None:
        self.node = "local"
        self._store = store
        self._live = live
        self._routes = routes
        self._endpoints = endpoints
        self._clock = clock or SystemClock()
        self._shares: dict[str, float] = {}
        self._heard: Instant | None = None
        self._run = ""
        self._is_resumed = False  # whether it is known what was counted before this process
        self._told: Mapping[str, Counts] = {}  # by this collector, since it began
        self._added: dict[str, Counts] = {}  # by those this process heard
        self._written: dict[str, Counts] = {}
        self._published: dict[str, float] = {}

    def sampling(self, route: str, share: float | None) -> list[Op]:
        """What, in a transaction, has a *share* of *route* compared at all nodes; see `records`."""
        return [sampling(route, share)]

    def share(self, route: str) -> float:
        """Which share of *route*'s requests is copied now."""
        live = self._live().get(route)
        if live is None or self.trouble(route):
            return 0.0
        return self._shares.get(route, live.share)

    def trouble(self, route: str) -> str:
        """Why nothing of *route* is compared at this node; empty when it is."""
        live = self._live().get(route)
        if live is None:
            return "moreton.yaml does not say what it is compared with"
        if live.side_effects is SideEffects.UNKNOWN:
            return (
                "nobody says that its requests have no side effects: if so, write "
                f"`side_effects: none` in compare.{route}"
            )
        if self._heard is None or self._clock.now() - self._heard > SILENT:
            return "no collector is heard of"
        if not self._places(live.candidate):
            return f"{live.candidate} has no instance"
        return ""

    async def counts(self, route: str) -> Counts:
        """What became of *route*'s sampled requests, at all nodes; only grows."""
        prefix = counts_prefix(route)
        found = await self._store.range(prefix, prefix_end(prefix))
        return sum((decode_counts(kv.value) for kv in found.kvs), Counts())

    def hear(self, run: str, counts: Any) -> list[dict[str, Any]]:
        """The collector of the process *run* tells its *counts*; what it has to do.

        Raises `ValueError` for what are no counts.
        """
        try:
            told = counts_from(counts)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"counts: {error}") from error
        self._heard = self._clock.now()
        if self._is_resumed:
            self._count(run, told)
        return [task_document(task) for task in self.tasks()]

    def _count(self, run: str, told: Mapping[str, Counts]) -> None:
        before = self._told if run == self._run else {}
        for route, now in told.items():
            more = now.since(before.get(route, Counts()))
            self._added[route] = self._added.get(route, Counts()) + more
        self._run, self._told = run, told

    def tasks(self) -> list[Task]:
        """What there is to compare, with where both services answer."""
        routes = self._routes()
        return [
            Task(
                live,
                self._places(live.primary),
                self._places(live.candidate),
                _rewriting(routes.get(name)),
            )
            for name, live in sorted(self._live().items())
            if live.may_copy
        ]

    async def document(self) -> list[dict[str, Any]]:
        """Every comparison, for people."""
        return [
            {
                "route": name,
                "primary": live.primary,
                "candidate": live.candidate,
                "candidates": [f"{host}:{port}" for host, port in self._places(live.candidate)],
                "side_effects": live.side_effects.value,
                "share": self.share(name),
                "trouble": self.trouble(name) or self._idle(name),
                "counts": {
                    key: getattr(counts, key)
                    for counts in [await self.counts(name)]
                    for key in Counts.__slots__
                },
            }
            for name, live in sorted(self._live().items())
        ]

    def _idle(self, route: str) -> str:
        """Why nothing of *route* is copied although all that takes is there; empty when it is."""
        if self.share(route):
            return ""
        return "its share is 0%: write `share`, or start a migration that shadows"

    async def load(self) -> int:
        """Take the shares in the store; its revision of them."""
        found = await self._store.range(SHARES, prefix_end(SHARES))
        self._shares.clear()
        for kv in found.kvs:
            self._take(kv.key, kv.value)
        return found.revision

    async def follow(self, is_fine: Callable[[], None]) -> None:
        """Keep up with the shares in the store; until cancelled."""
        start = await self.load() + 1
        watch = self._store.watch(SHARES, prefix_end(SHARES), from_revision=start)
        try:
            async with watch as batches:
                is_fine()
                async for batch in batches:
                    for event in batch.events:
                        self._take(event.kv.key, event.kv.value if event.kind == "put" else None)
        except Compacted:
            return

    async def run(self, proxy: Proxy, publish: Callable[[], None]) -> None:
        """Tell *proxy* the shares as they change, and write down what was counted."""
        await self.write()  # there is nothing yet, but it takes up what was counted before
        wrote = self._clock.now()
        while True:
            self.publish(proxy, publish)
            if self._clock.now() - wrote >= _WRITE_EVERY:
                wrote = self._clock.now()
                await self.write()
            await asyncio.sleep(_LOOK_SECONDS)

    def publish(self, proxy: Proxy, publish: Callable[[], None]) -> None:
        """Tell *proxy* the shares that are others than before."""
        wanted = {name: self.share(name) for name in self._live()}
        changed = {
            name: share for name, share in wanted.items() if self._published.get(name) != share
        }
        for name, share in changed.items():
            proxy.put_copied(name, share)
            why = "" if share else self.trouble(name)
            _LOG.info(
                "%.4g%% of the requests of %s are compared%s%s",
                *(share * 100, name, why and ": ", why),
            )
        self._published = wanted
        if changed:
            publish()

    async def resume(self) -> None:
        """Take up what a process before this one counted: its collector may be alive, and go on.

        What is told before is counted afterwards, as collectors tell what they counted in all.
        """
        found = await self._store.range(heard_key(self.node))
        if found.kvs:
            self._run, self._told = decode_heard(found.kvs[0].value)
        self._is_resumed = True

    async def write(self) -> None:
        """Put what came on top into the store; what cannot be is put there later."""
        try:
            if not self._is_resumed:
                await self.resume()
            await self._write()
        except StoreError as error:
            _LOG.warning("what was compared is not written down yet: %s", error)

    async def _write(self) -> None:
        new = {
            route: (total, total.since(self._written.get(route, Counts())))
            for route, total in self._added.items()
            if total != self._written.get(route, Counts())
        }
        if not new:
            return
        puts: list[Op] = [Put(heard_key(self.node), encode_heard(self._run, self._told))]
        for route, (_, more) in new.items():
            key = counts_key(route, self.node)
            found = await self._store.range(key)
            kept = decode_counts(found.kvs[0].value) if found.kvs else Counts()
            puts.append(Put(key, encode_counts(kept + more)))
        await self._store.txn(then=puts)
        self._written.update({route: total for route, (total, _) in new.items()})

    def _take(self, key: bytes, value: bytes | None) -> None:
        route = key.removeprefix(SHARES).decode(errors="replace")
        share = None if value is None else share_from(value)
        self._shares.pop(route, None)
        if share is not None:
            self._shares[route] = share

    def _places(self, service: str) -> list[tuple[str, int]]:
        addresses: list[Address] = [one.address for one in self._endpoints(service) if one.healthy]
        return [(one.host, one.port) for one in addresses]


def _rewriting(route: Route | None) -> Rewriting:
    """What the gateway changes of *route*'s requests, as far as it is not said by formats."""
    if route is None:
        return Rewriting()
    changes = route.request_headers
    pairs = {} if changes is None else {**changes.set, **changes.add}
    prefix = route.match.path.prefix if route.match.path.kind is PathKind.PREFIX else None
    return Rewriting(
        prefix=None if route.rewrite_path is None else prefix,
        path=route.rewrite_path,
        host=route.rewrite_host,
        set={name: value for name, value in pairs.items() if "%" not in value},
        remove=() if changes is None else changes.remove,
    )
