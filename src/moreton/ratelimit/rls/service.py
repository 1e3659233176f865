"""Answers requests for decisions: which thresholds they meet, what the store says, what is told."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from moreton.kernel.arguments import check_whole
from moreton.kernel.rng import Rng, system_rng
from moreton.ratelimit.core.fields import FieldStyle, fields_of
from moreton.ratelimit.core.limit import NEVER, Limit
from moreton.ratelimit.core.scaling import scaled
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.rls.core.answers import (
    UNLIMITED,
    Answer,
    Descriptor,
    Status,
    decision_of,
    merged,
    status_of,
    tightest,
)
from moreton.ratelimit.rls.core.facts import DOMAIN, facts_of
from moreton.ratelimit.rls.core.settling import Ask, Settled, Verdict, is_refused
from moreton.ratelimit.rls.core.tree import Node, Threshold
from moreton.ratelimit.rls.counts import Counts
from moreton.ratelimit.rls.meeting import Meetings, Met, key_of
from moreton.ratelimit.rls.stores.local import LocalStore
from moreton.ratelimit.rls.stores.store import Store
from moreton.ratelimit.rules import PROBLEM, problem_of
from moreton.ratelimit.turns import WAITING_MAX

if TYPE_CHECKING:
    from moreton.ratelimit.rls.exact import ExactRules

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
class RateLimitService:
    """Decides by the descriptors of *domains*, and by *rules* for gateways that tell facts.

    Both may be exchanged at any time.
    """

    domains: Mapping[str, Node]
    store: Store
    answering: Answering = field(default_factory=Answering)
    counts: Counts = field(default_factory=Counts)
    rng: Rng = field(default_factory=system_rng)
    rules: ExactRules | None = None
    _alone: LocalStore | None = None
    _ends: dict[str, deque[int]] = field(default_factory=dict)
    _meetings: Meetings = field(default_factory=lambda: Meetings({}))

    async def decide(self, domain: str, descriptors: Sequence[Descriptor], cost: int = 1) -> Answer:
        """Whether a request passes that has *descriptors*, each of *cost* unless it says more.

        Raises `LimitStoreUnavailable` where a threshold leaves that to the asker.
        """
        if domain == DOMAIN and self.rules is not None:
            return await self._decide_by_rules(self.rules, descriptors, cost)
        root = self.domains.get(domain)
        if root is None:
            self.counts.unknown(domain)
            return Answer(refused=False, statuses=(Status(),) * len(descriptors))
        if self._meetings.domains is not self.domains:
            self._meetings = Meetings(self.domains)
        meet = self._meetings.meet
        return await self._decide(
            domain, self._replaced([meet(domain, root, one, cost) for one in descriptors])
        )

    async def _decide_by_rules(
        self, rules: ExactRules, descriptors: Sequence[Descriptor], cost: int
    ) -> Answer:
        """As `decide`, of descriptors that tell facts; each has one status for all its rules."""
        now = self.store.clock.calendar()
        each = [
            rules.meet(facts_of(one.entries), cost if one.cost is None else one.cost, now)
            for one in descriptors
        ]
        answer = await self._decide(DOMAIN, [met for found in each for met in found], told=True)
        statuses, begin = [], 0
        for found in each:
            statuses.append(tightest(answer.statuses[begin : begin + len(found)]))
            begin += len(found)
        reported = any(met.reported for found in each for met in found)
        moment = (answer.moment or now) if reported and not answer.refused else 0
        return replace(answer, statuses=tuple(statuses), moment=moment)

    async def _decide(
        self, domain: str, met: Sequence[Met | None], *, told: bool = False
    ) -> Answer:
        """The answer about *met*; *told*: also when it was let in."""
        asks = self._asks(domain, met)
        try:
            settled = await self._settle(domain, met, asks)
        except LimitStoreUnavailable:
            self.counts.failed += 1
            settled = self._degraded(met, asks)
        return self._answer(met, asks, settled, told=told)

    def _replaced(self, met: list[Met | None]) -> list[Met | None]:
        """*met* without those that another one replaces."""
        gone = {name for one in met if one is not None for name in one.match.threshold.replaces}
        if not gone:
            return met
        return [
            None if one is not None and one.match.threshold.name in gone else one for one in met
        ]

    def _asks(self, domain: str, met: Sequence[Met | None]) -> list[Ask]:
        """What the store is asked, one for each count: two descriptors may have the same."""
        asks: list[Ask] = []
        places: dict[tuple[str, str], int] = {}
        for one in met:
            if one is None or one.match.threshold.limit is None:
                continue
            ask = self._ask(domain, one)
            place = places.setdefault((ask.limit.name, ask.key), len(asks))
            if place == len(asks):
                asks.append(ask)
            else:
                asks[place] = replace(asks[place], cost=asks[place].cost + ask.cost)
            one.place = place
        return asks

    def _ask(self, domain: str, one: Met) -> Ask:
        threshold = one.match.threshold
        assert threshold.limit is not None
        held = threshold.share >= 1 or self.rng.random() < threshold.share
        return Ask(
            threshold.limit,
            one.key or key_of(domain, one.match),
            one.cost,
            shadow=threshold.shadow or not held,
            quota=threshold.quota or self.answering.quota,
            drains=threshold.drains,
            report=threshold.report,
            patience_nanos=threshold.patience_nanos,
            reserve=one.reserve,
            taken=one.taken,
        )

    async def _settle(self, domain: str, met: Sequence[Met | None], asks: Sequence[Ask]) -> Settled:
        if self._banned(met):
            # Nothing is charged, and the store is not asked: it may be many that are.
            return Settled(tuple(_untouched(ask) for ask in asks), refused=True)
        if not asks:
            return _NOTHING
        if self.answering.charge_all:
            return await self._settle_each(domain, asks)
        return await self.store.settle(domain, asks)

    def _banned(self, met: Sequence[Met | None]) -> bool:
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

    def _degraded(self, met: Sequence[Met | None], asks: Sequence[Ask]) -> Settled:
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

    def _answer(
        self, met: Sequence[Met | None], asks: Sequence[Ask], settled: Settled, *, told: bool
    ) -> Answer:
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
            if told and self.rules is not None and one.cost >= 0 and not threshold.report:
                self.rules.note(one.match, verdict, one.cost, shadow=shadow)
        refused = is_refused(roles) or settled.refused
        delay = settled.delay_nanos
        if delay and not refused and not self._wait(delay, _waited_for(found)):
            refused = True
        if refused and self.answering.shadow:
            self.counts.shadowed += 1
            refused = False
        delay = 0 if refused else delay
        fields, body = self._told(found, sum(ask.cost for ask in asks), delay, refused=refused)
        return Answer(
            refused,
            tuple(statuses),
            delay,
            fields,
            body,
            _passed(met, statuses),
            settled.moment if told else 0,
        )

    def _told(
        self, found: Sequence[tuple[Threshold, Verdict]], cost: int, delay: int, *, refused: bool
    ) -> tuple[Sequence[tuple[str, str]], bytes]:
        """What a client is told: header fields, and a problem document of a refusal."""
        style = self._style(found, refused=refused)
        if style is FieldStyle.OFF and not refused:
            return (), b""
        decision = decision_of(found, refused=refused, delay_nanos=delay, cost=cost)
        fields = fields_of(decision, style)
        if not refused or not self.answering.problem:
            return fields, b""
        body = json.dumps(problem_of(decision, 429)).encode()
        return [("content-type", PROBLEM), *fields], body

    def _style(self, found: Sequence[tuple[Threshold, Verdict]], *, refused: bool) -> FieldStyle:
        """In which words a client is told: those of the limit that refused, or has least left."""
        told = [one for one in found if one[0].style is not None]
        if not told:
            return self.answering.style
        by = min(told, key=lambda one: (refused and not one[1].over, one[1].left))
        return by[0].style or self.answering.style

    def _wait(self, delay: int, threshold: Threshold) -> bool:
        """Whether one more request may be made to wait *delay* for *threshold*."""
        now = self.store.clock.monotonic()
        ends = self._ends.setdefault(threshold.name, deque())
        while ends and ends[0] <= now:
            ends.popleft()
        most = self.answering.waiting_max if threshold.queue is None else threshold.queue
        if len(ends) >= min(most, self.answering.waiting_max):
            return False
        # Nearly in order; one that ends early keeps its place until those before it have ended.
        ends.append(now + delay)
        return True


def _waited_for(found: Sequence[tuple[Threshold, Verdict]]) -> Threshold:
    """The threshold whose turn is the latest."""
    return max(found, key=lambda one: one[1].wait_nanos)[0]


def _untouched(ask: Ask) -> Verdict:
    return Verdict(over=False, left_before=ask.limit.quota, left=ask.limit.quota, reset_nanos=0)


def _passed(met: Sequence[Met | None], statuses: Sequence[Status]) -> dict[str, object]:
    """The metadata of the descriptors that were not over."""
    told = [
        one.match.threshold
        for one, status in zip(met, statuses, strict=True)
        if one is not None and one.match.threshold.metadata and not status.over
    ]
    return merged(told) if told else {}
