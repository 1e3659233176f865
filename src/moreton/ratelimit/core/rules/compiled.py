"""Rules compiled: which of them a request is under, and by which key it counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from moreton.kernel.patterns import PathKind, PathPattern
from moreton.ratelimit.core.rules.bounds import Bound
from moreton.ratelimit.core.rules.matching import Test, lost, tests_of
from moreton.ratelimit.core.rules.seen import Seen, joined, value_of
from moreton.ratelimit.core.rules.tiers import bounds_for
from moreton.ratelimit.core.rules.values import LimitRule, Match, Missing, Mode, Part, Tier, Trait

_ADDRESS = Part(Trait.ADDRESS)


@dataclass(frozen=True, slots=True)
class Applied:
    """*rule* holds for a request: *bounds* (none: nothing passes) count it under *key*."""

    rule: LimitRule
    bounds: tuple[Bound, ...]
    key: str
    variant: str  # the tier whose bounds they are; empty for those of the rule


@dataclass(frozen=True, slots=True)
class Explained:
    """A rule and a request: how it is *applied*, or why it does *not*."""

    rule: LimitRule
    applied: Applied | None
    why_not: str


class RuleSet:
    """*rules*, found by the beginnings of their paths: O(depth of the path + rules that may hold).

    Rules in mode off are not looked at.
    """

    def __init__(self, rules: Iterable[LimitRule], tiers: Mapping[str, Tier]) -> None:
        self.rules = tuple(rule for rule in rules if rule.mode is not Mode.OFF)
        self._tiers = tiers
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._below: dict[str, list[int]] = defaultdict(list)
        self._anywhere: list[int] = []
        self._tests: list[tuple[Test, ...]] = []
        self._excepts: list[tuple[Test, ...] | None] = []
        for number, rule in enumerate(self.rules):
            self._tests.append(_tests(rule, rule.match))
            self._excepts.append(None if rule.unless is None else _tests(rule, rule.unless))
            self._index(number, rule.match.paths)
        self._depth = max((one.count("/") for one in self._below), default=0)

    def under(self, seen: Seen) -> list[Applied]:
        """The rules that *seen* is under, in their order."""
        found = []
        for number in self._candidates(seen.caller.path):
            if not all(test(seen) for test in self._tests[number]):
                continue
            excepts = self._excepts[number]
            if excepts is not None and all(test(seen) for test in excepts):
                continue
            applied = applied_to(self.rules[number], seen)
            if applied is not None:
                found.append(applied)
        return found

    def _index(self, number: int, paths: Sequence[PathPattern]) -> None:
        if not paths:
            self._anywhere.append(number)
        for pattern in paths:
            if pattern.kind is PathKind.EXACT:
                where = self._exact[pattern.text]
            else:
                # Of a template, up to its last whole segment.
                where = self._below[pattern.prefix.rstrip("/")]
            if number not in where:
                where.append(number)

    def _candidates(self, path: str) -> Sequence[int]:
        if not self._exact and not self._below:
            return self._anywhere
        found = {*self._anywhere, *self._exact.get(path, ())}
        if self._below:
            for beginning in _beginnings(path, self._depth):
                found.update(self._below.get(beginning, ()))
        return sorted(found)


def applied_to(rule: LimitRule, seen: Seen) -> Applied | None:
    """How *rule* counts *seen*, which it matches; `None` when it does not count."""
    bounds = bounds_for(rule, seen.line)
    if bounds is None:
        return None
    key = _key(rule, seen)
    if key is None:
        return None
    variant = next((name for name in seen.line if name in rule.tiers), "")
    return Applied(rule, bounds, key, variant)


def explain(rule: LimitRule, seen: Seen) -> Explained:
    """Whether *rule* holds for *seen*, and why not: the slow way, one condition at a time."""
    if rule.mode is Mode.OFF:
        return Explained(rule, None, "it is off")
    missed = list(lost(rule.match, seen, rule.zone))
    if missed:
        return Explained(rule, None, "; ".join(missed))
    if rule.unless is not None and not list(lost(rule.unless, seen, rule.zone)):
        return Explained(rule, None, "it excepts the request")
    applied = applied_to(rule, seen)
    if applied is not None:
        return Explained(rule, applied, "")
    if bounds_for(rule, seen.line) is None:
        return Explained(rule, None, f"tier {seen.tier} has no limit there")
    lacks = next((str(part) for part in rule.by if not value_of(part, seen)), "a part of the key")
    return Explained(rule, None, f"the request lacks {lacks}, and such are skipped")


def _tests(rule: LimitRule, match: Match) -> tuple[Test, ...]:
    return tuple(test for _, test in tests_of(match, rule.zone))


def _key(rule: LimitRule, seen: Seen) -> str | None:
    if not rule.by:
        return ""
    values = [value_of(part, seen) for part in rule.by]
    if all(values) or rule.missing is Missing.TOGETHER:
        return joined(values)
    if rule.missing is Missing.SKIP:
        return None
    # It cannot be taken for a key of those that have all parts: they have no empty one.
    return joined(["", value_of(_ADDRESS, seen)])


def _beginnings(path: str, depth: int) -> Iterator[str]:
    """The paths of up to *depth* segments at or above *path*: of `/a/b` "", `/a` and `/a/b`."""
    at = 0
    for _ in range(depth + 1):
        yield path[:at]
        at = path.find("/", at + 1)
        if at == -1:
            yield path
            return
