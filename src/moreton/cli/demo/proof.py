"""What the comparison found: the wrong price, both values, and a pair to show and to replay."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from moreton.strangler.compare import Differences

_FILE = Path(".moreton") / "compare" / "differences.sqlite"
_PRICE = re.compile(r"£(\d+\.\d\d)")
_PENNY = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Proof:
    """In a *pair* of answers, *field* has one value of the *primary*, another of the *candidate*.

    *fields* are all in which something differed.
    """

    pair: int
    field: str
    primary: str
    candidate: str
    fields: tuple[str, ...]


def proof_of(folder: Path) -> Proof | None:
    """A price that is a penny too low; `None` when none was found, or anything else was."""
    with Differences(folder / _FILE) as kept:
        groups = kept.groups()
        fields = tuple(group.shape.field for group in groups)
        numbers = [number for group in groups for number in group.pairs]
        for pair in map(kept.pair, numbers):
            for one in pair.differences:
                prices = _PRICE.fullmatch(one.primary), _PRICE.fullmatch(one.candidate)
                if prices[0] and prices[1] and _apart(prices[0][1], prices[1][1]) == _PENNY:
                    return Proof(pair.id, one.path, one.primary, one.candidate, fields)
    return None


def _apart(primary: str, candidate: str) -> Decimal:
    return Decimal(primary) - Decimal(candidate)
