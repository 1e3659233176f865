"""Divides limits among those who hold them: a machine that one node runs for all.

Invariant: what all known holders of a quota may act by is never more than the whole. A share is
lowered at once and raised only by what others are known to have given up, so that grants which are
late, lost or seen in another order let nothing more pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moreton.ratelimit.quota.core.division import Quota, divide
from moreton.ratelimit.quota.core.messages import Grants, Report

# A division is left as it is while no share is off by more than this, or by a fifth of an equal
# part: what is asked for varies all the time, and each grant is a write.
OFF_MAX = 0.005
_OFF_PART_MAX = 0.2
# So many grants of one share are told apart; of more the oldest count as one.
_OPEN_MAX = 64
# Less than this is what is left over by rounding.
_CRUMB = 1e-9


@dataclass(frozen=True, slots=True)
class Reported:
    """*holder* said something."""

    holder: str
    report: Report


@dataclass(frozen=True, slots=True)
class Left:
    """*holder* has gone, or was not heard of for so long that it acts by no grant any more."""

    holder: str


@dataclass(frozen=True, slots=True)
class QuotasChanged:
    """These are the quotas from now on, by name."""

    quotas: Mapping[str, Quota]


Event = Reported | Left | QuotasChanged


@dataclass(slots=True)
class _Holding:
    """One holder of one quota: what it was granted, and the most that it may act by."""

    granted: float = 0.0
    may_hold: float = 0.0
    demand: float = 0.0
    # The grants by which it may act: the last that it is known to have seen, and those after it.
    open: list[tuple[int, float]] = field(default_factory=list)

    def grant(self, share: float, number: int) -> None:
        """It has *share* from the grant *number* on."""
        self.granted = share
        self.open.append((number, share))
        if len(self.open) > _OPEN_MAX:
            (_, first), (later, second) = self.open[:2]
            self.open[:2] = [(later, max(first, second))]
        self.may_hold = max(self.may_hold, share)

    def take(self, demand: float, holds: float, seen: int) -> None:
        """It reported; *seen* is the number of the last grant that it took."""
        self.demand = demand
        while len(self.open) > 1 and self.open[1][0] <= seen:
            del self.open[0]
        self.may_hold = max(holds, *(share for _, share in self.open), 0.0)


@dataclass(slots=True)
class _Division:
    quota: Quota
    holdings: dict[str, _Holding] = field(default_factory=dict)

    def free(self) -> float:
        """What nobody may act by."""
        return max(0.0, 1.0 - sum(each.may_hold for each in self.holdings.values()))


class Allocator:
    """The shares of all holders of all quotas; begins with what was *granted* before it.

    Who was granted something counts as a holder until it is said to have `Left`; nothing is divided
    anew before all holders have said what is asked of them.
    """

    def __init__(self, granted: Grants | None = None) -> None:
        granted = granted or Grants()
        self._number = granted.number
        self._lives = dict(granted.lives)
        self._before = {
            name: {holder: _before(granted, name, holder) for holder in each}
            for name, each in granted.shares.items()
        }
        self._divisions: dict[str, _Division] = {}
        self._reports: dict[str, Report] = {}

    @property
    def holders(self) -> frozenset[str]:
        """Those who have a share of anything, or said something."""
        having = {name for each in self._before.values() for name in each}
        having.update(*(each.holdings for each in self._divisions.values()))
        return frozenset(having | self._reports.keys())

    def handle(self, event: Event) -> Sequence[Grants]:
        """What follows from *event*: new grants, or nothing."""
        match event:
            case Reported():
                if self._lives.get(event.holder) != event.report.life:
                    self._forget(event.holder)
                self._reports[event.holder] = event.report
                self._lives[event.holder] = event.report.life
                for name, division in self._divisions.items():
                    self._take(name, division, event.holder)
            case Left():
                self._forget(event.holder)
            case QuotasChanged():
                self._change(event.quotas)
        return self._grant()

    def grants(self) -> Grants:
        """All shares as they were granted last."""
        tables = {name: each.holdings for name, each in self._divisions.items()}
        return Grants(
            self._number,
            {n: {h: each.granted for h, each in table.items()} for n, table in tables.items()},
            {n: {h: each.may_hold for h, each in table.items()} for n, table in tables.items()},
            dict(self._lives),
        )

    def _change(self, quotas: Mapping[str, Quota]) -> None:
        for name, quota in quotas.items():
            division = self._divisions.get(name)
            if division is not None:
                division.quota = quota
                continue
            division = self._divisions[name] = _Division(quota)
            division.holdings.update(self._before.pop(name, {}))
            for holder in self._reports:
                self._take(name, division, holder)
        for name in self._divisions.keys() - quotas.keys():
            del self._divisions[name]

    def _take(self, name: str, division: _Division, holder: str) -> None:
        """What *holder* says of the quota *name*."""
        report = self._reports[holder]
        holding = division.holdings.setdefault(holder, _Holding())
        holding.take(report.demand.get(name, 0.0), report.holds.get(name, 0.0), report.seen)

    def _forget(self, holder: str) -> None:
        """What *holder* was granted it acts by no more."""
        self._reports.pop(holder, None)
        self._lives.pop(holder, None)
        for shares in self._before.values():
            shares.pop(holder, None)
        for division in self._divisions.values():
            division.holdings.pop(holder, None)

    def _grant(self) -> Sequence[Grants]:
        changed = False
        for division in self._divisions.values():
            if division.holdings.keys() <= self._reports.keys():
                changed = _divide_anew(division, self._number + 1) or changed
        if not changed:
            return ()
        self._number += 1
        return (self.grants(),)


def _before(granted: Grants, quota: str, holder: str) -> _Holding:
    """One holding as whoever divided before left it; which grant the holder saw is not known."""
    share = granted.shares[quota][holder]
    may_hold = granted.at_most.get(quota, {}).get(holder, 1.0)
    # As one grant it is open until the holder has seen the last of those that it was made of.
    return _Holding(share, max(share, may_hold), open=[(0, may_hold), (granted.number, share)])


def _divide_anew(division: _Division, number: int) -> bool:
    """Move the shares towards what they should be; whether there was anything to move."""
    holdings = division.holdings
    if not holdings:
        return False
    targets = divide(division.quota, {name: each.demand for name, each in holdings.items()})
    bearable = min(OFF_MAX, _OFF_PART_MAX / len(holdings))
    if all(abs(targets[name] - each.granted) <= bearable for name, each in holdings.items()):
        return False
    free = division.free()
    missing = {
        name: max(0.0, targets[name] - max(each.may_hold, each.granted))
        for name, each in holdings.items()
    }
    portion = min(1.0, free / (sum(missing.values()) or 1.0))
    moved = False
    for name, each in holdings.items():
        # Up to what it may act by anyway a share is raised for nothing.
        reachable = max(each.may_hold, each.granted) + missing[name] * portion
        share = min(targets[name], reachable)
        if abs(share - each.granted) > _CRUMB:
            each.grant(share, number)
            moved = True
    return moved
