"""This node's shares of the limits that all gateways share: kept in its proxy, asked for, extended.

Whatever happens to the control plane, a request waits for nothing: the proxy has its shares.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Any

from moreton.controlplane.cluster.errors import StoreSilent
from moreton.controlplane.following import Noting, keep_following
from moreton.controlplane.quotas.keys import GRANTS, holder_name, report_key
from moreton.controlplane.quotas.ports import Proxy
from moreton.kernel.time import Clock, Instant
from moreton.ratelimit.quota.core.holder import (
    Act,
    Applied,
    Assured,
    Counted,
    Effect,
    Entered,
    Event,
    Granted,
    HeldQuota,
    Holder,
    QuotasHeld,
    Tell,
)
from moreton.ratelimit.quota.core.messages import Report, decode_grants, encode_report
from moreton.store import Delete, LeaseId, Put, Store
from moreton.store.core.model import Op
from moreton.store.errors import LeaseNotFound

# A node that died is counted on no more after this; etcd's least is its election timeout and more.
HOLD_TTL = timedelta(seconds=6)
# It stops counting on it itself before the store can, however late an answer comes.
_HOLD = HOLD_TTL - timedelta(seconds=1)
_RENEW_EVERY = timedelta(seconds=1.5)
_ANSWER_SECONDS_MAX = 2.0
# How often the proxy is asked how much it was asked for, while a limit is shared with others.
SAMPLE_SECONDS = 0.25
# Counters that took longer than this to be read are those of no known moment; but better than none
# for so long.
_READ_SECONDS_MAX = 0.1
_BLIND_SECONDS_MAX = 1.0
# So much less often where all of every limit is its own.
_TICKS_ALONE = 8
# How often the proxy is told that it may keep what it was lent.
_EXTEND_EVERY = timedelta(seconds=1)

_REST_SECONDS = 1.0
_LOG = logging.getLogger("moreton.controlplane")

# By gateway, what it has to share.
Held = Mapping[str, Mapping[str, HeldQuota]]


@dataclass(slots=True)
class _Gateway:
    """A gateway of this node as a holder."""

    holder: Holder
    quotas: Mapping[str, HeldQuota] = field(default_factory=dict)
    acts: Mapping[str, float] = field(default_factory=dict)
    is_lent: bool = False
    news: Report | None = None  # what there is to say
    said: Report | None = None  # what was said last


class Holdings:
    """The shares of the gateways of *node*; *held* says what they have to share.

    `load`, then `run`; both live with any trouble of the store.
    """

    def __init__(
        self,
        store: Store,
        proxy: Proxy,
        *,
        node: str,
        held: Callable[[], tuple[Held, asyncio.Event]],
        clock: Clock,
        troubles: Noting,
    ) -> None:
        self._store = store
        self._proxy = proxy
        self._node = node
        self._held = held
        self._clock = clock
        self._troubles = troubles
        self._gateways: dict[str, _Gateway] = {}
        self._lease: LeaseId | None = None
        self._stored: bytes | None = None  # the grants
        self._until: Instant | None = None  # counted on
        self._gone: set[str] = set()  # holders whose reports are to be taken back
        self._news = asyncio.Event()
        self._counted = clock.now()

    async def load(self) -> None:
        """Before a proxy is told of anything: begin as one that has just come.

        For as long as an answer of the store may take there is no outage. Raises its errors.
        """
        self._until = self._clock.now() + _HOLD
        found = await self._store.range(GRANTS)
        self._stored = found.kvs[0].value if found.kvs else None
        self._take_edit()

    async def run(self) -> None:
        """Keep the shares; until cancelled."""
        work = (self._edits, self._stay, self._follow, self._sample, self._note_applied)
        async with asyncio.TaskGroup() as tasks:
            for each in work:
                tasks.create_task(_keep_doing(each))

    def shares(self) -> dict[str, dict[str, float]]:
        """What each gateway acts by, by limit."""
        return {name: dict(each.acts) for name, each in self._gateways.items() if each.acts}

    def _feed(self, events: Iterable[tuple[_Gateway, Event]]) -> None:
        now = self._clock.now()
        for gateway, event in list(events):
            self._perform(gateway, gateway.holder.handle(event, now))

    def _feed_all(self, event: Event) -> None:
        self._feed((gateway, event) for gateway in self._gateways.values())

    def _perform(self, gateway: _Gateway, effects: Sequence[Effect]) -> None:
        lent = self._until is not None
        acts = lent is not gateway.is_lent
        for effect in effects:
            match effect:
                case Act():
                    gateway.acts, acts = effect.shares, True
                case Tell():
                    gateway.news = effect.report
                    self._news.set()
        if acts:
            gateway.is_lent = lent
            self._act(gateway)

    def _act(self, gateway: _Gateway) -> None:
        """Tell the proxy: what holds in any case, and what holds while this node is counted on."""
        kept, lent = {}, {}
        for name, share in gateway.acts.items():
            outage = gateway.quotas[name].outage
            kept[name] = share if outage is None else outage
            if outage is not None and gateway.is_lent:
                lent[name] = share
        self._proxy.act(_bare(gateway), kept, lent, self._seconds())

    def _seconds(self) -> float:
        """For how long this node is counted on."""
        if self._until is None:
            return 0.0
        return max(0.0, (self._until - self._clock.now()).total_seconds())

    def _take_edit(self) -> asyncio.Event:
        held, edited = self._held()
        for name in self._gateways.keys() - held.keys():
            gateway = self._gateways.pop(name)
            self._gone.add(gateway.holder.name)
            self._proxy.act(name, {}, {}, 0.0)
            self._news.set()
        if held and not self._gateways and self._until is None:
            # The first limits of a node that had none: as at its beginning.
            self._until = self._clock.now() + _HOLD
        for name, quotas in held.items():
            gateway = self._gateways.get(name) or self._enter(name)
            gateway.quotas = quotas
            self._feed([(gateway, QuotasHeld(quotas))])
        return edited

    def _enter(self, name: str) -> _Gateway:
        gateway = self._gateways[name] = _Gateway(Holder(holder_name(self._node, name)))
        self._news.set()
        self._gone.discard(gateway.holder.name)
        now = self._clock.now()
        grants = None if self._stored is None else decode_grants(self._stored)
        if grants is not None:
            gateway.holder.handle(Granted(grants), now)
        if self._until is not None:
            gateway.holder.handle(Entered(self._until, self._lease or 0), now)
        return gateway

    async def _edits(self) -> None:
        while True:
            await self._take_edit().wait()

    async def _stay(self) -> None:
        await keep_following(self._live, what="sharing limits", troubles=self._troubles)

    async def _live(self, is_fine: Callable[[], None]) -> None:
        """One life: until the store's lease ends, or the store fails."""
        while not self._gateways:
            self._news.clear()
            await self._news.wait()
        renew_at = self._clock.now()
        try:
            while True:
                async with _in_time():
                    if self._lease is None:
                        await self._begin_life()
                        renew_at = self._clock.now() + _RENEW_EVERY
                    elif self._clock.now() >= renew_at:
                        await self._renew(self._lease)
                        renew_at = self._clock.now() + _RENEW_EVERY
                    await self._write()
                is_fine()
                left = (renew_at - self._clock.now()).total_seconds()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(left, 0)):
                        await self._news.wait()
        except LeaseNotFound:
            self._lease = None

    async def _begin_life(self) -> None:
        asked = self._clock.now()
        self._lease = await self._store.grant(HOLD_TTL)
        self._until = asked + _HOLD
        self._feed_all(Entered(self._until, self._lease))
        found = await self._store.range(GRANTS)
        self._take_grants(found.kvs[0].value if found.kvs else None)

    async def _renew(self, lease: LeaseId) -> None:
        asked = self._clock.now()
        await self._store.keep_alive(lease)
        self._until = asked + _HOLD
        self._feed_all(Assured(self._until))
        # Whatever became of the watch: what is granted is known by now.
        found = await self._store.range(GRANTS)
        self._take_grants(found.kvs[0].value if found.kvs else None)
        await self._repeat()

    async def _repeat(self) -> None:
        """Say again what is not there as it was said: an attempt given up may have come later."""
        for gateway in list(self._gateways.values()):
            found = await self._store.range(report_key(gateway.holder.name))
            said = gateway.said
            there = found.kvs[0].value if found.kvs else b""
            if gateway.news is None and said is not None and there != encode_report(said):
                gateway.news = said

    async def _write(self) -> None:
        """Say all that is new; what could not be said stays to be."""
        self._news.clear()
        new = [(each, each.news) for each in self._gateways.values()]
        gone = set(self._gone)
        ops: list[Op] = [
            Put(report_key(gateway.holder.name), encode_report(report), self._lease)
            for gateway, report in new
            if report is not None
        ]
        ops += [Delete(report_key(name)) for name in sorted(gone)]
        if not ops:
            return
        await self._store.txn(then=ops)
        self._gone -= gone
        for gateway, report in new:
            if report is not None and gateway.news is report:
                gateway.news, gateway.said = None, report

    async def _follow(self) -> None:
        async def follow(is_fine: Callable[[], None]) -> None:
            found = await self._store.range(GRANTS)
            self._take_grants(found.kvs[0].value if found.kvs else None)
            watch = self._store.watch(GRANTS, from_revision=found.revision + 1)
            async with watch as batches:
                is_fine()
                async for batch in batches:
                    self._take_grants(batch.events[-1].kv.value)

        await keep_following(follow, what="following shares of limits", troubles=self._troubles)

    def _take_grants(self, stored: bytes | None) -> None:
        self._stored = stored
        grants = None if stored is None else decode_grants(stored)
        if grants is not None:
            self._feed_all(Granted(grants))

    async def _sample(self) -> None:
        extend_at = self._clock.now()
        for tick in itertools.count():
            await asyncio.sleep(SAMPLE_SECONDS)
            now = self._clock.now()
            if self._until is not None and now >= self._until:
                self._until = None
                for gateway in self._gateways.values():
                    self._perform(gateway, gateway.holder.wake(now))
            if now >= extend_at:
                extend_at = now + _EXTEND_EVERY
                self._extend()
            self._feed_applied()
            often = any(map(_is_shared, self._gateways.values()))
            # To count takes a proxy of 1,000 services 40 ms, in which it hears of no change.
            if self._gateways and (often or tick % _TICKS_ALONE == 0):
                await self._count()

    def _extend(self) -> None:
        seconds = self._seconds()
        for name, gateway in self._gateways.items():
            if gateway.is_lent and seconds:
                self._proxy.extend(name, seconds)

    async def _count(self) -> None:
        began = self._clock.now()
        counters = await self._proxy.counters()
        now = self._clock.now()
        read_late = (now - began).total_seconds() > _READ_SECONDS_MAX
        if read_late and (now - self._counted).total_seconds() < _BLIND_SECONDS_MAX:
            return
        if counters is not None:
            self._counted = now
            self._feed(
                (gateway, Counted({each: counters.get((name, each), 0) for each in gateway.quotas}))
                for name, gateway in self._gateways.items()
            )

    async def _note_applied(self) -> None:
        while True:
            changed = self._proxy.next_change()
            self._feed_applied()
            await changed.wait()

    def _feed_applied(self) -> None:
        self._feed(
            (gateway, Applied(gateway.acts))
            for name, gateway in self._gateways.items()
            if gateway.acts and self._proxy.has_applied(name)
        )


async def _keep_doing(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """*work*, begun again when it fails: a fault of ours must not leave a gateway at its share."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - as the docstring says
            _LOG.exception("keeping the shares of limits failed; it begins anew")
        await asyncio.sleep(_REST_SECONDS)


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """A store that does not answer in time is one that cannot be reached."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            yield
    except TimeoutError as error:
        raise StoreSilent(seconds=_ANSWER_SECONDS_MAX) from error


def _bare(gateway: _Gateway) -> str:
    """The name of the gateway."""
    return gateway.holder.name.rpartition("/")[2]


def _is_shared(gateway: _Gateway) -> bool:
    """Whether another holder has a share of any limit, as far as this one knows."""
    return any(0 < share < 1 or share == inf for share in gateway.acts.values())
