"""Tiers that are within each other: what holds for one holds for those within it."""

from __future__ import annotations

from collections.abc import Mapping

from moreton.ratelimit.core.rules.bounds import Bound
from moreton.ratelimit.core.rules.values import LimitRule, Tier


def lineage(tiers: Mapping[str, Tier], name: str) -> tuple[str, ...]:
    """*name* and the tiers that it is within, the nearest first; empty for no tier at all."""
    found: list[str] = []
    while name in tiers and name not in found:
        found.append(name)
        name = tiers[name].within
    return tuple(found)


def bounds_for(rule: LimitRule, line: tuple[str, ...]) -> tuple[Bound, ...] | None:
    """What *rule* lets a client of the tiers *line* pass: of the nearest that says; else its own.

    `None`: everything; empty: nothing.
    """
    for name in line:
        if name in rule.tiers:
            return rule.tiers[name]
    return rule.bounds
