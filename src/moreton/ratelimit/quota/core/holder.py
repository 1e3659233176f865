"""One holder of shares: what it acts by now, and what it has to say.

A share may be acted by for as long as whoever divides counts on it: each word of the store that
this holder is known extends that. Afterwards each quota says what holds until there is such a word
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from moreton.kernel.time import Instant
from moreton.ratelimit.quota.core.division import FLOOR, Quota
from moreton.ratelimit.quota.core.messages import Grants, Report
from moreton.ratelimit.quota.core.meter import Meter

# Other demand is told when it is off by more than this part of the limit, and of what was told.
NEWS_OF_RATE = 0.01
_NEWS_OF_TOLD = 0.03
_NEWS_OF_KEYED = 0.1
OPEN = inf  # the share of who lets everything pass
CLOSED = 0.0


@dataclass(frozen=True, slots=True)
class HeldQuota:
    """A quota, and the share of a holder that nobody counts on any more.

    0 lets nothing pass, `OPEN` everything. `None`: it goes on with its last share, so that all
    together pass at most twice the limit.
    """

    quota: Quota
    outage: float | None = None

    def __post_init__(self) -> None:
        if self.outage is not None and not self.outage >= 0:
            raise ValueError(f"outage is {self.outage}; give a share of 0 or more, or None")


@dataclass(frozen=True, slots=True)
class Granted:
    """There are grants, for all holders."""

    grants: Grants


@dataclass(frozen=True, slots=True)
class Entered:
    """This holder is known until then, in a new *life*.

    By grants of an earlier one it may not act: others may have those shares by now.
    """

    until: Instant
    life: int


@dataclass(frozen=True, slots=True)
class Assured:
    """It is known until then: whoever divides counts on its shares, without a gap."""

    until: Instant


@dataclass(frozen=True, slots=True)
class Applied:
    """These shares are in force, and no others."""

    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Counted:
    """How much was asked so far, by quota."""

    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class QuotasHeld:
    """These are the quotas from now on, by name."""

    quotas: Mapping[str, HeldQuota]


Event = Granted | Entered | Assured | Applied | Counted | QuotasHeld


@dataclass(frozen=True, slots=True)
class Act:
    """Act by these shares, by quota; 0 lets nothing pass and `OPEN` everything."""

    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tell:
    """Say this to whoever divides."""

    report: Report


Effect = Act | Tell


@dataclass(slots=True)
class _State:
    quotas: Mapping[str, HeldQuota] = field(default_factory=dict)
    grants: Grants = field(default_factory=Grants)
    assured: Instant | None = None
    life: int = 0
    acts: dict[str, float] = field(default_factory=dict)
    may_act: dict[str, float] = field(default_factory=dict)  # at most, until all is in force
    told: Report | None = None


class Holder:
    """The shares of the holder called *name*."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._state = _State()
        self._meter = Meter()

    @property
    def acts(self) -> Mapping[str, float]:
        """What it acts by, or will in a moment."""
        return dict(self._state.acts)

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """What follows from *event*, in the order in which it must happen."""
        state = self._state
        match event:
            case Granted():
                if event.grants.number >= state.grants.number:
                    state.grants = event.grants
            case Entered():
                state.assured, state.life, state.told = event.until, event.life, None
            case Assured():
                state.assured = event.until
            case Applied():
                if dict(event.shares) == state.acts:
                    state.may_act = dict(state.acts)
            case Counted():
                self._meter.feed(event.counters, now)
            case QuotasHeld():
                state.quotas = dict(event.quotas)
        return self._follow(now)

    def wake(self, now: Instant) -> Sequence[Effect]:
        """What follows from the time alone."""
        return self._follow(now)

    def deadline(self) -> Instant | None:
        """When to `wake` it."""
        return self._state.assured

    def _follow(self, now: Instant) -> Sequence[Effect]:
        state = self._state
        if state.assured is not None and now >= state.assured:
            state.assured = None
            state.told = None  # who is counted on again says all of it again
        effects: list[Effect] = []
        shares = {name: self._share(name, held) for name, held in state.quotas.items()}
        if shares != state.acts:
            state.acts = shares
            state.may_act = {
                name: max(share, state.may_act.get(name, 0.0)) for name, share in shares.items()
            }
            effects.append(Act(dict(shares)))
        report = self._report()
        if state.assured is not None and self._is_news(report):
            state.told = report
            effects.append(Tell(report))
        return effects

    def _share(self, name: str, held: HeldQuota) -> float:
        state = self._state
        granted = state.grants.shares.get(name, {}).get(self.name, FLOOR)
        if state.assured is not None and state.grants.lives.get(self.name) == state.life:
            return granted
        if held.outage is None:
            return state.acts.get(name, granted)
        return FLOOR if state.assured is not None else held.outage

    def _report(self) -> Report:
        state, rates = self._state, self._meter.rates()
        return Report(
            demand={name: rates.get(name, 0.0) for name in state.quotas},
            holds={name: min(1.0, state.may_act.get(name, 0.0)) for name in state.quotas},
            seen=state.grants.number,
            life=state.life,
        )

    def _is_news(self, report: Report) -> bool:
        told = self._state.told
        if told is None or (told.holds, told.seen) != (report.holds, report.seen):
            return True
        quotas, acts = self._state.quotas, self._state.acts
        if told.demand.keys() != report.demand.keys():
            return True
        # Who has all of a limit gets no more of it, whatever is asked.
        return any(
            acts[name] < 1.0 and _differ(told.demand[name], each, quotas[name].quota)
            for name, each in report.demand.items()
        )


def _differ(told: float, found: float, quota: Quota) -> bool:
    """Whether *found* could change a division; who wants all of it wants no more than that."""
    if quota.keyed:
        return abs(found - told) > max(1.0, _NEWS_OF_KEYED * told)
    told, found = min(told, quota.rate), min(found, quota.rate)
    return abs(found - told) > max(NEWS_OF_RATE * quota.rate, _NEWS_OF_TOLD * told)
