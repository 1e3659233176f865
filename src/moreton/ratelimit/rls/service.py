"""Answers requests for decisions: which thresholds they meet, what the store says, what is told."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from moreton.kernel.arguments import check_whole
from moreton.kernel.quantities import Rate
from moreton.kernel.rng import Rng, system_rng
from moreton.ratelimit.core.fields import FieldStyle, fields_of
from moreton.ratelimit.core.limit import NEVER, Limit
from moreton.ratelimit.core.scaling import scaled
from moreton.ratelimit.core.windows import FixedWindow
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.rls.core.answers import (
    UNLIMITED,
    Answer,
    Descriptor,
    Status,
    decision_of,
    merged,
    status_of,
)
from moreton.ratelimit.rls.core.settling import Ask, Settled, Verdict, is_refused
from moreton.ratelimit.rls.core.tree import SECONDS, Match, Node, Threshold, find
from moreton.ratelimit.rls.counts import Counts
from moreton.ratelimit.rls.stores.local import LocalStore
from moreton.ratelimit.rls.stores.store import Store
from moreton.ratelimit.rules import PROBLEM, problem_of
from moreton.ratelimit.turns import WAITING_MAX

_KEY_CHARS_MAX = 1024
_NOTHING = Settled((), refused=False)
_BANNED = Verdict(over=True, left_before=0, left=0, reset_nanos=0, wait_nanos=NEVER)
# Asked again so soon when the store is away.
_AWAY_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Answering:
    """How requests are answered.

    *shadow*: none is refused, whatever a threshold says. *quota*: each threshold is one of quota.
    *charge_all*: what one descriptor refuses the others count all the same. With *problem* a
    refusal has a problem document. At most *waiting_max* requests are delayed at a time.
    """

    style: FieldStyle = FieldStyle.DRAFT_10
    shadow: bool = False
    quota: bool = False
    charge_all: bool = False
    problem: bool = True
    waiting_max: int = WAITING_MAX

    def __post_init__(self) -> None:
        check_whole("waiting_max", self.waiting_max, 0)


@dataclass(slots=True)
class _Met:
    """What one descriptor meets: the place of its ask, or nothing to ask about."""

    match: Match
    cost: int
    place: int | None = None


@dataclass(slots=True)
class RateLimitService:
    """Decides by the descriptors of *domains*, which may be exchanged at any time."""

    domains: Mapping[str, Node]
    store: Store
    answering: Answering = field(default_factory=Answering)
    counts: Counts = field(default_factory=Counts)
    rng: Rng = field(default_factory=system_rng)
    _alone: LocalStore | None = None
    _ends: deque[int] = field(default_factory=deque)

    async def decide(self, domain: str, descriptors: Sequence[Descriptor], cost: int = 1) -> Answer:
        """Whether a request passes that has *descriptors*, each of *cost* unless it says more.

        Raises `LimitStoreUnavailable` where a threshold leaves that to the asker.
        """
        root = self.domains.get(domain)
        if root is None:
            self.counts.unknown(domain)
            return Answer(refused=False, statuses=(Status(),) * len(descriptors))
        met = self._replaced([_met(domain, root, one, cost) for one in descriptors])
        asks = self._asks(domain, met)
        try:
            settled = await self._settle(domain, met, asks)
        except LimitStoreUnavailable:
            self.counts.failed += 1
            settled = self._degraded(met, asks)
        return self._answer(met, asks, settled)

    def _replaced(self, met: list[_Met | None]) -> list[_Met | None]:
        """*met* without those that another one replaces."""
        gone = {name for one in met if one is not None for name in one.match.threshold.replaces}
        if not gone:
            return met
        return [
            None if one is not None and one.match.threshold.name in gone else one for one in met
        ]

    def _asks(self, domain: str, met: Sequence[_Met | None]) -> list[Ask]:
        """What the store is asked, one for each count: two descriptors may have the same."""
        asks: list[Ask] = []
        places: dict[tuple[str, str], int] = {}
        for one in met:
            if one is None or one.match.threshold.limit is None:
                continue
            ask = self._ask(domain, one.match, one.cost)
            place = places.setdefault((ask.limit.name, ask.key), len(asks))
            if place == len(asks):
                asks.append(ask)
            else:
                asks[place] = replace(asks[place], cost=asks[place].cost + ask.cost)
            one.place = place
        return asks

    def _ask(self, domain: str, match: Match, cost: int) -> Ask:
        threshold = match.threshold
        assert threshold.limit is not None
        held = threshold.share >= 1 or self.rng.random() < threshold.share
        return Ask(
            threshold.limit,
            _key(domain, match),
            cost,
            shadow=threshold.shadow or not held,
            quota=threshold.quota or self.answering.quota,
            drains=threshold.drains,
            report=threshold.report,
            patience_nanos=threshold.patience_nanos,
        )

    async def _settle(
        self, domain: str, met: Sequence[_Met | None], asks: Sequence[Ask]
    ) -> Settled:
        if self._banned(met):
            # Nothing is charged, and the store is not asked: it may be many that are.
            return Settled(tuple(_untouched(ask) for ask in asks), refused=True)
        if not asks:
            return _NOTHING
        if self.answering.charge_all:
            return await self._settle_each(domain, asks)
        return await self.store.settle(domain, asks)

    def _banned(self, met: Sequence[_Met | None]) -> bool:
        banned = [one.match.threshold for one in met if one is not None]
        return any(
            one.banned and not (one.shadow or one.quota or self.answering.quota) for one in banned
        )

    async def _settle_each(self, domain: str, asks: Sequence[Ask]) -> Settled:
        """As if each were alone: what is refused by one the others count."""
        found = [await self.store.settle(domain, [ask]) for ask in asks]
        verdicts = tuple(one.verdicts[0] for one in found)
        roles = [
            (verdict.over, ask.shadow, ask.quota)
            for verdict, ask in zip(verdicts, asks, strict=True)
        ]
        refused = is_refused(roles)
        delay = 0 if refused else max((one.delay_nanos for one in found), default=0)
        return Settled(verdicts, refused, delay)

    def _degraded(self, met: Sequence[_Met | None], asks: Sequence[Ask]) -> Settled:
        """What is said while the store is away, as each threshold has it."""
        thresholds: dict[int, Threshold] = {
            one.place: one.match.threshold
            for one in met
            if one is not None and one.place is not None
        }
        verdicts = []
        for place, ask in enumerate(asks):
            away = thresholds[place].away
            if away is None:
                raise LimitStoreUnavailable(
                    "the store of the limits is away, and no fail mode says what to do: nothing "
                    "was decided; the proxy's failure mode holds"
                )
            if away.alone is not None:
                verdicts.append(self._decide_alone(ask, away.alone))
                continue
            over = ask.cost > 0 and self.rng.random() < away.refuse
            left = 0 if over else ask.limit.quota
            verdicts.append(Verdict(over, 0, left, 0, _AWAY_NANOS if over else 0))
        roles = [
            (verdict.over, ask.shadow, ask.quota)
            for verdict, ask in zip(verdicts, asks, strict=True)
        ]
        return Settled(tuple(verdicts), is_refused(roles))

    def _decide_alone(self, ask: Ask, share: float) -> Verdict:
        if self._alone is None:
            self._alone = LocalStore(clock=self.store.clock)
        limit: Limit = scaled(ask.limit, share)
        # One by one: what waits here would wait again where it counts.
        return self._alone.settle_nowait([replace(ask, limit=limit, patience_nanos=0)]).verdicts[0]

    def _answer(self, met: Sequence[_Met | None], asks: Sequence[Ask], settled: Settled) -> Answer:
        statuses: list[Status] = []
        found: list[tuple[Threshold, Verdict]] = []
        roles = []
        for one in met:
            if one is None:
                statuses.append(Status())
                continue
            threshold = one.match.threshold
            if threshold.unlimited:
                statuses.append(UNLIMITED)
                continue
            verdict, shadow = _BANNED, threshold.shadow
            if one.place is not None:
                verdict, shadow = settled.verdicts[one.place], asks[one.place].shadow
            found.append((threshold, verdict))
            roles.append((verdict.over, shadow, threshold.quota or self.answering.quota))
            statuses.append(status_of(threshold, verdict, shadow=shadow))
            self.counts.note(one.match, verdict, one.cost, shadowed=shadow)
        refused = is_refused(roles) or settled.refused
        delay = settled.delay_nanos
        if delay and not refused and not self._wait(delay):
            refused = True
        if refused and self.answering.shadow:
            self.counts.shadowed += 1
            refused = False
        return self._told(
            Answer(
                refused, tuple(statuses), 0 if refused else delay, metadata=_passed(met, statuses)
            ),
            found,
            sum(ask.cost for ask in asks),
        )

    def _told(
        self, answer: Answer, found: Sequence[tuple[Threshold, Verdict]], cost: int
    ) -> Answer:
        """*answer* with header fields and a problem document."""
        decision = decision_of(
            found, refused=answer.refused, delay_nanos=answer.delay_nanos, cost=cost
        )
        fields = fields_of(decision, self.answering.style)
        if not answer.refused or not self.answering.problem:
            return replace(answer, fields=fields)
        body = json.dumps(problem_of(decision, 429)).encode()
        return replace(answer, fields=[("content-type", PROBLEM), *fields], body=body)

    def _wait(self, delay: int) -> bool:
        """Whether one more request may be made to wait *delay*."""
        now = self.store.clock.monotonic()
        ends = self._ends
        while ends and ends[0] <= now:
            ends.popleft()
        if len(ends) >= self.answering.waiting_max:
            return False
        # Nearly in order; one that ends early keeps its place until those before it have ended.
        ends.append(now + delay)
        return True


def _met(domain: str, root: Node, descriptor: Descriptor, cost: int) -> _Met | None:
    price = cost if descriptor.cost is None else descriptor.cost
    if descriptor.override is not None:
        return _Met(_overridden(domain, descriptor), price)
    match = find(domain, root, descriptor.entries)
    return None if match is None else _Met(match, price)


def _overridden(domain: str, descriptor: Descriptor) -> Match:
    """The limit that the asker brought, in place of any that is configured."""
    brought = descriptor.override
    assert brought is not None
    entries = descriptor.entries
    told = ".".join(f"{key}_{value}" if value else key for key, value in entries)
    seconds = SECONDS[brought.unit] * brought.multiplier
    limit = None
    if brought.count:
        limit = FixedWindow(Rate(brought.count, timedelta(seconds=seconds)), name=told)
    threshold = Threshold(limit, brought.count, brought.unit, brought.multiplier)
    return Match(threshold, f"{domain}.{told}", (*entries, ("", str(seconds))))


def _key(domain: str, match: Match) -> str:
    """What the count of *match* is known by; other entries have another key."""
    parts = [domain, *(part for entry in match.counted for part in entry)]
    key = "".join(f"{len(part)}:{part}" for part in parts)
    return key if len(key) <= _KEY_CHARS_MAX else shortened(key)


def shortened(key: str) -> str:
    """A long *key* in a few characters."""
    import hashlib  # noqa: PLC0415 - few need it

    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()


def _untouched(ask: Ask) -> Verdict:
    return Verdict(over=False, left_before=ask.limit.quota, left=ask.limit.quota, reset_nanos=0)


def _passed(met: Sequence[_Met | None], statuses: Sequence[Status]) -> dict[str, object]:
    """The metadata of the descriptors that were not over."""
    return merged(
        [
            one.match.threshold
            for one, status in zip(met, statuses, strict=True)
            if one is not None and not status.over and one.match.threshold.metadata
        ]
    )
