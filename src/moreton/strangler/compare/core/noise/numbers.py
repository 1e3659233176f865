"""How large noisy numbers are, and when it is told that a candidate's are of another size.

A number that is another one in each answer has no right value, but it has a range and a sign. Of
one that only ever grows, or shrinks, nothing is said: two databases count each for itself, and
clocks go on while one asks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from moreton.strangler.compare.core.noise.wagers import Wager

# So many numbers of the primary before one is beyond their range. What comes in one of n answers
# has not come yet with probability (1 - 1/n)**SEEN_MIN, and is told of if it comes twice: by chance
# once in e * SEEN_MIN noisy numbers at most, ever, and hardly if few are far from all others.
SEEN_MIN = 100
# How often it changed between two answers of the primary, and the share that has to be either way.
MOVES_MIN = 10
EITHER_WAY_MIN = 0.2
_MOVES_MAX = 1000
# Durations of two machines are seldom twice as long, answer by answer.
TIMES_MIN = 2.0
_TEXT_CHARS_MAX = 64
# What one answer said is read several times, and another one's hardly again.
REMEMBERED_MAX = 512
_FILED_DIGITS = 2
_LARGEST = 1e300  # so that nothing that is reckoned with it is infinite
_NUMBER = re.compile(r"([^0-9]*)([0-9][0-9.,]*)(e[+-]?[0-9]{1,3})?([^0-9]*)")


class Oddity(StrEnum):
    """What a candidate's number is and the primary's is not."""

    LARGER = "larger"  # more than twice as large, whatever its sign
    SMALLER = "smaller"
    NEGATIVE = "negative"
    POSITIVE = "positive"  # or zero


_OPPOSITE = {
    Oddity.LARGER: Oddity.SMALLER,
    Oddity.SMALLER: Oddity.LARGER,
    Oddity.NEGATIVE: Oddity.POSITIVE,
    Oddity.POSITIVE: Oddity.NEGATIVE,
}


@dataclass(slots=True)
class Numbers:
    """Of one shape of noise: the primary's range, whether it goes either way, what is odd."""

    seen: int = 0
    low: float = math.inf
    high: float = -math.inf
    ups: int = 0
    downs: int = 0
    wagers: dict[Oddity, Wager] = field(default_factory=dict)

    def add(self, one: str, other: str) -> None:
        """The primary said *one*, and when it was asked again *other*."""
        first, second = number_of(one), number_of(other)
        for number in (first, second):
            self._see(number)
        if first is None or second is None or first == second:
            return
        self.ups, self.downs = self.ups + (second > first), self.downs + (second < first)
        if self.ups + self.downs > _MOVES_MAX:
            self.ups, self.downs = self.ups // 2, self.downs // 2

    def watch(self, primary: str, candidate: str) -> None:
        """The two said this in answer to one request."""
        one, other = number_of(primary), number_of(candidate)
        self._see(one)
        if one is None or other is None:
            return
        for oddity in _oddities(one, other):
            self.wagers.setdefault(oddity, Wager()).add(candidate=True)
            self.wagers.setdefault(_OPPOSITE[oddity], Wager()).add(candidate=False)

    def is_strange(self, primary: str, candidate: str) -> bool:
        """Whether noise does not explain the size of what the candidate says.

        Either one is beyond the range and the other is not, or it is odd in a way in which it is
        too often.
        """
        one, other = number_of(primary), number_of(candidate)
        if one is None or other is None or not self.goes_either_way:
            return False
        if self._is_beyond(one) != self._is_beyond(other):
            return True
        odd = self.odd()
        return bool(odd) and any(oddity in odd for oddity in _oddities(one, other))

    def odd(self) -> frozenset[Oddity]:
        """In what the candidate is the odd one more often than chance explains."""
        return frozenset(oddity for oddity, wager in self.wagers.items() if wager.is_won)

    @property
    def goes_either_way(self) -> bool:
        """Whether the primary's next number was now larger, now smaller: it is no counter."""
        moves = self.ups + self.downs
        return moves >= MOVES_MIN and min(self.ups, self.downs) >= moves * EITHER_WAY_MIN

    def _see(self, number: float | None) -> None:
        if number is not None:
            self.seen += 1
            self.low, self.high = min(self.low, number), max(self.high, number)

    def _is_beyond(self, number: float) -> bool:
        """Whether it is as far outside of the range as that is wide, in size or in magnitude."""
        if self.seen < SEEN_MIN:
            return False
        wide = self.high - self.low
        if number > self.high + wide or number < self.low - wide:
            return True
        return self.low > 0 and number < self.low * (self.low / self.high)


@lru_cache(maxsize=REMEMBERED_MAX)
def number_of(text: str) -> float | None:
    """The one number in *text*: `12.5` of `£12.50`, `12,50 €` and `12.5 ms`; none of `3 of 5`.

    A comma before three digits, and what is there several times, parts thousands.
    """
    found = None if len(text) > _TEXT_CHARS_MAX else _NUMBER.fullmatch(text)
    if found is None:
        return None
    before, digits, power = found[1], found[2].rstrip(".,"), found[3] or ""
    number = float(_plain(digits) + power)
    if number >= _LARGEST:
        return None
    number = number if number > 1 / _LARGEST else 0.0
    negative = "-" in before and not any(char.isalpha() for char in before)
    return -number if negative else number


def numbers_document(numbers: Numbers) -> dict[str, Any]:
    """*numbers* as JSON; of the range two digits, outward: a number may be a secret."""
    return {
        "seen": numbers.seen,
        "range": [_outward(numbers.low, -1), _outward(numbers.high, 1)] if numbers.seen else None,
        "moves": [numbers.ups, numbers.downs],
        "wagers": {oddity.value: wager.wealth for oddity, wager in numbers.wagers.items()},
    }


def numbers_from(found: Mapping[str, Any]) -> Numbers:
    """What `numbers_document` made."""
    low, high = found["range"] or (math.inf, -math.inf)
    wagers = {Oddity(name): Wager(list(wealth)) for name, wealth in found["wagers"].items()}
    ups, downs = found["moves"]
    return Numbers(found["seen"], low, high, ups, downs, wagers)


def _oddities(primary: float, candidate: float) -> Iterator[Oddity]:
    """What the *candidate*'s is and the *primary*'s is not."""
    if abs(candidate) > TIMES_MIN * abs(primary):
        yield Oddity.LARGER
    elif abs(primary) > TIMES_MIN * abs(candidate):
        yield Oddity.SMALLER
    if (candidate < 0) != (primary < 0):
        yield Oddity.NEGATIVE if candidate < 0 else Oddity.POSITIVE


def _plain(digits: str) -> str:
    last = max(digits.rfind(","), digits.rfind("."))
    if last < 0:
        return digits
    mark, rest = digits[last], digits[last + 1 :]
    whole = digits[:last].replace(",", "").replace(".", "")
    thousands = digits.count(mark) > 1 or (mark == "," and len(rest) == 3 and "." not in digits)
    return whole + rest if thousands else f"{whole}.{rest}"


def _outward(number: float, way: int) -> float:
    """*number* in two digits, not nearer to zero if *way* leads away from it."""
    if number == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(number))) - _FILED_DIGITS + 1)
    return (math.floor if way < 0 else math.ceil)(number / unit) * unit
