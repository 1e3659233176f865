"""Rules on the time of a log: what each would have decided, and about whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.rules.bans import BanIndex
from moreton.ratelimit.core.rules.bounds import AdmissionBound, Bound, WorkBound
from moreton.ratelimit.core.rules.compiled import Applied, RuleSet
from moreton.ratelimit.core.rules.seen import Caller, Seen, Teller
from moreton.ratelimit.core.rules.values import LimitRule, Limits, Mode
from moreton.ratelimit.limiter import Limiter
from moreton.ratelimit.local import LocalLimiter
from moreton.ratelimit.replay.lines import Entry
from moreton.ratelimit.rules import SaidCost

BANS = "bans"
_KEYS_MAX = 1_000_000


class LogClock:
    """The time of the log; it never goes back."""

    def __init__(self) -> None:
        self.nanos = 0

    @property
    def monotonic(self) -> Callable[[], int]:
        """The moment of the present line."""
        return lambda: self.nanos

    @property
    def calendar(self) -> Callable[[], int]:
        """As `monotonic`."""
        return lambda: self.nanos

    def sleep(self, seconds: float) -> None:
        """Nothing waits in a log."""

    async def sleep_async(self, seconds: float) -> None:
        """As `sleep`."""


@dataclass(slots=True)
class Outcome:
    """What one rule would have decided; by key, up to a bound, how often it asked."""

    matched: int = 0
    delayed: int = 0
    refused: int = 0
    longest_wait_nanos: int = 0
    asked_by: Counter[str] = field(default_factory=Counter)
    refused_by: Counter[str] = field(default_factory=Counter)

    def count(self, key: str, *, refused: bool) -> None:
        """*key* asked, and was *refused* or not."""
        self.matched += 1
        self.refused += refused
        for counter, more in ((self.asked_by, 1), (self.refused_by, refused)):
            if more and (key in counter or len(counter) < _KEYS_MAX):
                counter[key] += 1


class Replay:
    """Tries *limits* on the lines of a log; rules in mode shadow as if they acted, too.

    Everybody counts together, as in one gateway. What depends on how long work takes, or on how
    answers fail, is not in a log: *skipped* names such rules. Requests that one rule refuses are
    charged to no other, and change nothing of what was answered.
    """

    def __init__(self, limits: Limits, teller: Teller) -> None:
        self.requests = 0
        self.refused = 0
        self.first_nanos = 0
        self.last_nanos = 0
        self.late = 0  # lines that were earlier than one before them
        self.outcomes: dict[str, Outcome] = {}
        self.skipped: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()  # of what would have been refused
        self._clock = LogClock()
        self._teller = teller
        self._bans = BanIndex(limits.clients.bans)
        kept = [rule for rule in limits.rules.values() if self._can_replay(rule)]
        self._rules = RuleSet(kept, limits.clients.tiers)
        self._limiters: dict[tuple[str, str], Limiter] = {}
        for rule in kept:
            if rule.mode is not Mode.OFF:
                self.outcomes[rule.name] = Outcome()

    def add(self, entry: Entry) -> bool:
        """Replay one line; whether it would have been let in."""
        self.requests += 1
        self.first_nanos = min(self.first_nanos or entry.nanos, entry.nanos)
        self.late += entry.nanos < self._clock.nanos
        self._clock.nanos = self.last_nanos = max(self._clock.nanos, entry.nanos)
        seen = self._see(entry.caller)
        ban = self._bans.ban_of(seen)
        if ban is not None:
            outcome = self.outcomes.setdefault(BANS, Outcome())
            self._refuse(outcome, ban.who, entry)
            return False
        return self._ask(self._rules.under(seen), entry)

    def _ask(self, applied: list[Applied], entry: Entry) -> bool:
        charged: list[tuple[Limiter, Decision]] = []
        later: list[tuple[Limiter, str, int]] = []
        for one in applied:
            rule, outcome = one.rule, self.outcomes[one.rule.name]
            if not one.bounds:
                self._refuse(outcome, one.key, entry)
                break
            limiter = self._limiter(one)
            cost = rule.cost
            price = cost.number
            if cost.header:
                price = SaidCost(cost.header, cost.most, cost.number).read(entry.caller.headers.get)
            if cost.is_of_answers:
                price = 1
            decision = limiter.decide(one.key, price, patience=rule.wait)
            if not decision.allowed:
                self._refuse(outcome, one.key, entry)
                break
            outcome.count(one.key, refused=False)
            outcome.delayed += decision.delay_nanos > 0
            outcome.longest_wait_nanos = max(outcome.longest_wait_nanos, decision.delay_nanos)
            if cost.is_of_answers:
                limiter.give_back(decision)
                later.append((limiter, one.key, self._answer_costs(rule, entry.status)))
            else:
                charged.append((limiter, decision))
        else:
            for limiter, key, price in later:
                if price:
                    limiter.charge(key, price)
            return True
        for limiter, decision in charged:
            limiter.give_back(decision)
        return False

    def _refuse(self, outcome: Outcome, key: str, entry: Entry) -> None:
        self.refused += 1
        self.statuses[entry.status] += 1
        outcome.count(key, refused=True)

    def _answer_costs(self, rule: LimitRule, status: int) -> int:
        if rule.cost.answers:
            return int(any(first <= status <= last for first, last in rule.cost.answers))
        return rule.cost.number

    def _see(self, caller: Caller) -> Seen:
        seconds = self._clock.nanos / NANOSECONDS_PER_SECOND
        return self._teller.see(caller, datetime.fromtimestamp(seconds, UTC))

    def _limiter(self, one: Applied) -> Limiter:
        place = (one.rule.name, one.variant)
        found = self._limiters.get(place)
        if found is None:
            limits = [
                bound.as_limit(bound.name)
                for bound in one.bounds
                if not isinstance(bound, AdmissionBound)
            ]
            found = LocalLimiter(*limits, clock=self._clock, keys_max=_KEYS_MAX)
            self._limiters[place] = found
        return found

    def _can_replay(self, rule: LimitRule) -> bool:
        bounds: list[Bound] = [*rule.bounds]
        for own in rule.tiers.values():
            bounds += own or ()
        why = ""
        if any(isinstance(one, WorkBound) for one in bounds):
            why = "it bounds work under way, and a log does not say how long it took"
        elif any(isinstance(one, AdmissionBound) for one in bounds):
            why = "it depends on how many answers fail at the time"
        elif rule.connections:
            why = "it counts connections, and a log has requests"
        if why:
            self.skipped[rule.name] = why
        return not why
