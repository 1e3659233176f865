"""What was decided so far, by the names that envoyproxy/ratelimit gives its statistics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from moreton.ratelimit.rls.core.settling import Verdict
from moreton.ratelimit.rls.core.tree import Match

# Of thresholds, and of values where those are told one by one; all beyond are one.
METRICS_MAX = 2_000
OTHERS = "others"
_NEAR = 0.8  # of a quota
NAMES = ("total_hits", "within_limit", "near_limit", "over_limit", "shadow_mode")


@dataclass(slots=True)
class Row:
    """The hits of one metric."""

    total_hits: int = 0
    within_limit: int = 0
    near_limit: int = 0
    over_limit: int = 0
    shadow_mode: int = 0


@dataclass(slots=True)
class Counts:
    """The hits of each metric, the answers without the store, and those that shadow mode let go."""

    rows: dict[str, Row] = field(default_factory=dict)
    not_found: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    shadowed: int = 0

    def unknown(self, domain: str) -> None:
        """A request for a *domain* that nobody configured."""
        if domain not in self.not_found and len(self.not_found) >= METRICS_MAX:
            domain = OTHERS
        self.not_found[domain] = self.not_found.get(domain, 0) + 1

    def note(self, match: Match, verdict: Verdict, cost: int, *, shadowed: bool) -> None:
        """A descriptor that asked for *cost* got *verdict*."""
        if cost <= 0:
            return
        row = self._row(match)
        row.total_hits += cost
        quota = match.threshold.limit.quota if match.threshold.limit is not None else 0
        near = int(quota * _NEAR)
        used = quota - verdict.left_before
        if not verdict.over:
            row.within_limit += cost
            row.near_limit += max(0, min(cost, used + cost - near))
            return
        over = cost if not match.threshold.drains else cost - min(cost, verdict.left_before)
        row.over_limit += over
        if verdict.left_before > 0 and match.threshold.drains:
            row.near_limit += quota - max(near, used)
        if shadowed:
            row.shadow_mode += over

    def lines(self) -> Iterator[tuple[str, Row]]:
        """Every metric and its hits."""
        yield from sorted(self.rows.items())

    def _row(self, match: Match) -> Row:
        row = self.rows.get(match.metric)
        if row is None:
            name = match.metric
            if len(self.rows) >= METRICS_MAX:
                name = f"{name.partition('.')[0]}.{OTHERS}"
            row = self.rows.setdefault(name, Row())
        return row
