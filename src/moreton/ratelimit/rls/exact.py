"""Rules of `moreton.yaml` with `scope: exact`, held for gateways that ask for each request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.ratelimit.core.decision import reserved
from moreton.ratelimit.core.rules.bounds import AdmissionBound, Bound
from moreton.ratelimit.core.rules.compiled import Applied, RuleSet
from moreton.ratelimit.core.rules.seen import Sources, Teller
from moreton.ratelimit.core.rules.values import LimitRule, Limits, Mode, Trait
from moreton.ratelimit.rls.core.facts import (
    ANSWER,
    ENDED,
    STATUS,
    Facts,
    group_of,
    is_asked_for,
    is_reported,
)
from moreton.ratelimit.rls.core.settling import Verdict
from moreton.ratelimit.rls.core.tree import COUNT_MAX, Away, Match, Threshold
from moreton.ratelimit.rls.meeting import Met
from moreton.ratelimit.rulebook.places import Places
from moreton.ratelimit.rulebook.tokens import Verifier
from moreton.ratelimit.rules import SaidCost
from moreton.ratelimit.seeing.core.report import Verdict as Became
from moreton.ratelimit.seeing.tally import TALLY, Tally
from moreton.resilience.core.headers import read_criticality
from moreton.resilience.layers.adaptive import SHARES

_METRIC = "limits."
# Headers whose values nobody is to see.
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})


class ExactRules:
    """Finds the rules of *limits* that a request is under, and what it costs by each."""

    def __init__(self, limits: Limits, *, tally: Tally = TALLY) -> None:
        clients = limits.clients
        self._tally = tally
        verifier = Verifier(clients.tokens) if clients.tokens is not None else None
        sources = Sources(
            claims=verifier.claims if verifier is not None else Sources().claims,
            place=Places(clients.geoip).place,
        )
        self.limits = limits
        self._teller = Teller(clients, sources)
        found = [rule for rule in limits.rules.values() if is_asked_for(rule)]
        self._rules = RuleSet(found, clients.tiers)
        self._thresholds = {
            (rule.name, variant): tuple(_thresholds(rule, bounds))
            for rule in self._rules.rules
            for variant, bounds in _variants(rule)
        }

        self._first = {each[0].name for each in self._thresholds.values() if each}
        hidden = {*_SECRET, clients.api_key_header}
        self._secret = {
            rule.name
            for rule in self._rules.rules
            if any(part.trait is Trait.HEADER and part.name in hidden for part in rule.by)
        }

    @property
    def names(self) -> list[str]:
        """The names of the rules."""
        return [rule.name for rule in self._rules.rules]

    def thresholds(self) -> Iterator[Threshold]:
        """All that a request can meet."""
        for found in self._thresholds.values():
            yield from found

    def meet(self, facts: Facts, hits: int, now_nanos: int) -> list[Met]:
        """What a request meets; of one that was answered *hits* is what the answer said."""
        now = datetime.fromtimestamp(now_nanos / NANOSECONDS_PER_SECOND, UTC)
        seen = self._teller.see(facts.caller, now)
        found: list[Met] = []
        for one in self._rules.under(seen):
            if group_of(one.rule) == facts.group:
                found += self._met(one, facts, hits)
        return found

    def note(self, match: Match, verdict: Verdict, cost: int, *, shadow: bool) -> None:
        """Count what was decided, for those who look; a rule of several bounds by its first."""
        rule = self.limits.rules[match.metric.removeprefix(_METRIC)]
        if match.threshold.name not in self._first:
            return
        became = Became.DELAY if verdict.wait_nanos > 0 else Became.ALLOW
        mode = Mode.SHADOW if shadow else Mode.ENFORCE
        self._tally.note(
            rule.name,
            (match.counted[-1][1],),
            Became.REJECT if verdict.over else became,
            mode,
            cost=cost,
            secret=rule.name in self._secret,
        )

    def _met(self, one: Applied, facts: Facts, hits: int) -> Iterator[Met]:
        rule = one.rule
        for threshold in self._thresholds[rule.name, one.variant]:
            counted = (("rule", threshold.name), ("tier", one.variant), ("key", one.key))
            match = Match(threshold, f"{_METRIC}{rule.name}", counted)
            if facts.done:
                yield from _ended(match, rule, facts, hits)
                continue
            cost = _cost(rule, facts)
            reserve = 0 if cost else 1
            if rule.shed and threshold.limit is not None:
                said = rule.criticality or read_criticality(facts.caller.headers)
                reserve += reserved(threshold.limit, SHARES[said])
            yield Met(match, cost, reserve, reported=is_reported(rule))


def _ended(match: Match, rule: LimitRule, facts: Facts, hits: int) -> Iterator[Met]:
    """What the end of a request changes."""
    limit = match.threshold.limit
    if limit is None:
        return
    if limit.held:
        if facts.done == ENDED and facts.taken:
            yield Met(match, -1, taken=facts.taken)
        return
    cost = _answered_cost(rule, facts.done, hits)
    if cost:
        yield Met(replace(match, threshold=replace(match.threshold, report=True)), cost)


def _variants(rule: LimitRule) -> list[tuple[str, tuple[Bound, ...]]]:
    own: list[tuple[str, tuple[Bound, ...]]] = [("", rule.bounds)]
    return own + [(tier, bounds) for tier, bounds in rule.tiers.items() if bounds is not None]


def _thresholds(rule: LimitRule, bounds: tuple[Bound, ...]) -> Iterator[Threshold]:
    """What *rule* lets pass by *bounds*, of which none means that nothing does."""
    outage = rule.outage
    base = Threshold(
        None,
        0,
        name=rule.name,
        shadow=rule.mode is Mode.SHADOW,
        drains=False,
        share=rule.share,
        away=Away(outage.refuse, outage.local),
        style=rule.fields,
        queue=rule.queue or None,
        patience_nanos=round(rule.wait.total_seconds() * NANOSECONDS_PER_SECOND),
    )
    if not bounds:
        yield base
        return
    several = len(bounds) > 1
    for bound in bounds:
        if isinstance(bound, AdmissionBound):
            continue
        limit = bound.as_limit(f"{rule.name}:{bound.name}" if several else rule.name)
        yield replace(base, limit=limit, count=min(limit.quota, COUNT_MAX), name=limit.name)


def _cost(rule: LimitRule, facts: Facts) -> int:
    """What a request costs; nothing yet where its answer says that."""
    cost = rule.cost
    if cost.is_of_answers:
        return 0
    if cost.header:
        return SaidCost(cost.header, cost.most, cost.number).read(facts.caller.headers.get)
    return cost.number


def _answered_cost(rule: LimitRule, done: str, hits: int) -> int:
    """What an answer costs of which *done* says what *hits* is."""
    cost = rule.cost
    if done == STATUS:
        return int(any(first <= hits <= last for first, last in cost.answers))
    if done == f"{ANSWER}{cost.answer_header}" and cost.answer_header:
        return min(hits, cost.most)
    return 0
