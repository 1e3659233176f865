"""What holders and the one who divides tell each other, and its form in a store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, TypeGuard

# Shares of each holder, by quota.
Shares = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Report:
    """What a holder says: requests a second asked of it, and the shares that it may act by.

    Both by quota. *seen* is the number of the last grants that it took. With each *life* it begins
    anew, and acts by no grant that was made for an earlier one.
    """

    demand: Mapping[str, float] = field(default_factory=dict)
    holds: Mapping[str, float] = field(default_factory=dict)
    seen: int = 0
    life: int = 0


@dataclass(frozen=True, slots=True)
class Grants:
    """The shares of all holders, by quota; each grant has a higher *number* than the one before.

    By *at_most* a holder may act that has not seen this grant yet: for whoever divides next.
    *lives*
    says for which life of each holder they are.
    """

    number: int = 0
    shares: Shares = field(default_factory=dict)
    at_most: Shares = field(default_factory=dict)
    lives: Mapping[str, int] = field(default_factory=dict)


def encode_report(report: Report) -> bytes:
    """The stored form of *report*."""
    document = {
        "demand": {name: round(each, 3) for name, each in sorted(report.demand.items())},
        "holds": dict(sorted(report.holds.items())),
        "seen": report.seen,
        "life": report.life,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode_report(stored: bytes) -> Report | None:
    """The report that was stored; `None` for what is none of ours."""
    found = _document(stored)
    demand, holds = _numbers(found.get("demand")), _numbers(found.get("holds"))
    seen, life = found.get("seen"), found.get("life")
    if demand is None or holds is None or not _is_count(seen) or not _is_count(life):
        return None
    return Report(demand, holds, seen, life)


def encode_grants(grants: Grants) -> bytes:
    """The stored form of *grants*."""
    document = {
        "number": grants.number,
        "shares": {name: dict(each) for name, each in grants.shares.items()},
        "at_most": {name: dict(each) for name, each in grants.at_most.items()},
        "lives": dict(grants.lives),
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def decode_grants(stored: bytes) -> Grants | None:
    """The grants that were stored; `None` for what is none of ours."""
    found = _document(stored)
    shares, at_most = _tables(found.get("shares")), _tables(found.get("at_most"))
    number, lives = found.get("number"), found.get("lives")
    if shares is None or at_most is None or not _is_count(number) or not isinstance(lives, dict):
        return None
    if not all(_is_count(each) for each in lives.values()):
        return None
    return Grants(number, shares, at_most, lives)


def _document(stored: bytes) -> dict[str, Any]:
    try:
        found = json.loads(stored)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _tables(found: object) -> dict[str, dict[str, float]] | None:
    if not isinstance(found, dict):
        return None
    tables = {str(name): _numbers(each) for name, each in found.items()}
    whole = {name: each for name, each in tables.items() if each is not None}
    return whole if len(whole) == len(tables) else None


def _numbers(found: object) -> dict[str, float] | None:
    if not isinstance(found, dict):
        return None
    for each in found.values():
        if not isinstance(each, int | float) or isinstance(each, bool):
            return None
        if not isfinite(each) or each < 0:
            return None
    return {str(name): float(each) for name, each in found.items()}


def _is_count(found: object) -> TypeGuard[int]:
    return isinstance(found, int) and not isinstance(found, bool) and found >= 0
