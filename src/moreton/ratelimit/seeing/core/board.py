"""What many processes told of their limits in the last minute, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.ratelimit.seeing.core.heavy import HeavyHitters, Talker
from moreton.ratelimit.seeing.core.report import (
    OTHER,
    RULES_MAX,
    TALKERS_MAX,
    Decided,
    Report,
    RuleReport,
)

SLOT_SECONDS = 10
SLOTS = 6
SOURCES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """What *rule* decided within the time that is remembered, and who asked most of it."""

    rule: str
    decisions: dict[Decided, int]
    degraded: int
    talkers: list[Talker]


class Board:
    """Adds up reports; told the time in nanoseconds of a monotonic clock.

    The last `SLOTS` slots of `SLOT_SECONDS` are remembered, for at most `RULES_MAX` rules: what
    more there are is one, `other`.
    """

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._totals: dict[str, Counter[Decided]] = {}
        self._degraded: Counter[str] = Counter()
        self._began: int | None = None

    def add(self, report: Report, now: int) -> None:
        """Take in *report*, which came at *now*."""
        if self._began is None:
            self._began = now - int(report.seconds * NANOSECONDS_PER_SECOND)
        slot = self._slot(now)
        if len(slot.sources) < SOURCES_MAX:
            slot.sources.add(report.source)
        for one in report.rules:
            name = self._name(one.rule)
            self._totals.setdefault(name, Counter()).update(one.decisions)
            self._degraded[name] += one.degraded
            slot.add(name, one)

    def standings(self, now: int, *, rule: str | None = None, most: int = 20) -> list[Standing]:
        """How each rule stands at *now*, or *rule* alone; the one that decided most comes first."""
        found = []
        for name in self._totals:
            if rule is not None and name != rule:
                continue
            decisions: Counter[Decided] = Counter()
            talkers, degraded = HeavyHitters(TALKERS_MAX), 0
            for slot in self._living(now):
                decisions.update(slot.decisions.get(name, {}))
                degraded += slot.degraded[name]
                told = slot.talkers.get(name)
                if told is not None:
                    talkers.merge(told.top(), floor=told.floor, total=told.total)
            found.append(Standing(name, dict(decisions), degraded, talkers.top(most)))
        return sorted(found, key=lambda one: (-sum(one.decisions.values()), one.rule))

    def sources(self, now: int) -> int:
        """How many processes told something within the time that is remembered."""
        return len(set().union(*(slot.sources for slot in self._living(now))))

    def seconds(self, now: int) -> float:
        """How long what is remembered took; never 0."""
        if self._began is None:
            return 1.0
        into = now % (SLOT_SECONDS * NANOSECONDS_PER_SECOND) / NANOSECONDS_PER_SECOND
        most = (SLOTS - 1) * SLOT_SECONDS + into
        return max(1.0, min(most, (now - self._began) / NANOSECONDS_PER_SECOND))

    def totals(self) -> Iterator[tuple[str, Decided, int]]:
        """Each rule, what it decided, and how often since the beginning."""
        for name, decisions in self._totals.items():
            for decided, count in decisions.items():
                yield name, decided, count

    def degraded(self) -> Mapping[str, int]:
        """How often each rule decided without its store since the beginning."""
        return self._degraded

    def _name(self, rule: str) -> str:
        """The rule's own name, for as long as there is room; it keeps it."""
        return rule if rule in self._totals or len(self._totals) < RULES_MAX else OTHER

    def _slot(self, now: int) -> _Slot:
        number = now // (SLOT_SECONDS * NANOSECONDS_PER_SECOND)
        if number not in self._slots:
            self._slots = {
                known: slot for known, slot in self._slots.items() if known > number - SLOTS
            }
            self._slots[number] = _Slot()
        return self._slots[number]

    def _living(self, now: int) -> list[_Slot]:
        number = now // (SLOT_SECONDS * NANOSECONDS_PER_SECOND)
        return [slot for known, slot in self._slots.items() if known > number - SLOTS]


class _Slot:
    def __init__(self) -> None:
        self.sources: set[str] = set()
        self.decisions: dict[str, Counter[Decided]] = {}
        self.degraded: Counter[str] = Counter()
        self.talkers: dict[str, HeavyHitters] = {}

    def add(self, name: str, one: RuleReport) -> None:
        self.decisions.setdefault(name, Counter()).update(one.decisions)
        self.degraded[name] += one.degraded
        talkers = self.talkers.setdefault(name, HeavyHitters(TALKERS_MAX))
        talkers.merge(one.talkers, floor=one.floor, total=one.total)
