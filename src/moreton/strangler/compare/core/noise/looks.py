"""What noise looks like: the values that a place takes which differs from itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from moreton.strangler.compare.core.differences import ABSENT
from moreton.strangler.compare.core.noise.numbers import (
    REMEMBERED_MAX,
    Numbers,
    number_of,
    numbers_document,
    numbers_from,
)
from moreton.strangler.compare.core.noise.wagers import Wager

# More sorts of values than these, and which there are says nothing.
FORMS_MAX = 32
VALUES_MAX = 256
# So many values, and so many of each sort on average, before another sort is strange.
SEEN_MIN = 40
OFTEN_MIN = 10
# Of all that was seen, the share that was seen just once estimates that of what never was.
# Source: Good, "The population frequencies of species", Biometrika 40 (1953), section 2.
SINGLE_MAX = 0.001
# Clocks of two machines are never so far apart, and zones are: by a quarter of an hour or more.
MOMENTS_APART_MIN = timedelta(minutes=10)
FURTHER_MIN = 3
_FORM_CHARS_MAX = 80
# A long token of hexadecimal digits has no letter now and then.
_TOKEN_CHARS_MIN = 12
_FRACTION = re.compile(r"(?<=[0-9])\.[0-9]+(?![\w.])")
_WORDS = re.compile(r"[^\W_]+(?: [^\W_]+)*")


@dataclass(slots=True)
class Sorts:
    """How often each sort was seen, of at most *most*; *open* once there were more."""

    most: int
    counts: dict[str, int] = field(default_factory=dict)
    seen: int = 0
    open: bool = False

    def add(self, sort: str) -> None:
        """One of *sort* more."""
        if self.open:
            return
        self.counts[sort] = self.counts.get(sort, 0) + 1
        self.seen += 1
        if len(self.counts) > self.most:
            self.counts.clear()
            self.open = True

    def is_strange(self, sort: str) -> bool:
        """Whether *sort* was never seen, and is not to be expected either."""
        if self.open or sort in self.counts:
            return False
        if self.seen < max(SEEN_MIN, OFTEN_MIN * len(self.counts)):
            return False
        single = sum(count == 1 for count in self.counts.values())
        return single <= self.seen * SINGLE_MAX


@dataclass(slots=True)
class Looks:
    """Of one shape of noise: the forms, values and numbers that the primary gave, how far apart.

    Of the candidate there is whether it is *stuck*: says what it said *before*, where the primary
    does not. *saved* is false while there is something that was not written down yet.
    """

    forms: Sorts = field(default_factory=lambda: Sorts(FORMS_MAX))
    values: Sorts = field(default_factory=lambda: Sorts(VALUES_MAX))
    apart: timedelta | None = None
    numbers: Numbers = field(default_factory=Numbers)
    stuck: Wager = field(default_factory=Wager)
    before: str = ""  # as a mark, and so is what it said last
    last: str = ""
    saved: bool = False

    def add(self, one: str, other: str, marks: tuple[str, str]) -> None:
        """The primary said *one*, and then *other*; *marks* stand for the two."""
        for text, mark in zip((one, other), marks, strict=True):
            if text != ABSENT:
                self.forms.add(form_of(text))
                self.values.add(mark)
        apart = _apart(one, other)
        if apart is not None:
            self.apart = max(apart, self.apart or timedelta(0))
        self.numbers.add(one, other)
        self.saved = False

    def watch(self, primary: str, candidate: str, mark: Callable[[str], str]) -> None:
        """The two said this in answer to one request; *mark* makes what stands for a value."""
        marks = mark(primary), mark(candidate)
        self.before, self.last = self.last, marks[1]
        if self.before in marks:  # one of the two, as they differ
            self.stuck.add(candidate=self.before == marks[1])
        self.numbers.watch(primary, candidate)
        self.saved = False

    def is_strange(self, primary: str, candidate: str, mark: Callable[[], str]) -> bool:
        """Whether noise does not explain that one says *primary* and the other *candidate*.

        The place is not the noisy one if the primary's value has a form that noise never had; else
        it is what the candidate says: its form, its value where there are few (*mark* makes what
        stands for it), its size, that it says it each time, its clock.
        """
        if self._has_strange_form(primary, candidate):
            return True
        if not self.values.open and self.values.is_strange(mark()):
            return True
        if self.numbers.is_strange(primary, candidate):
            return True
        if self.stuck.is_won and mark() == self.before and not self._stands(candidate):
            return True
        apart = _apart(primary, candidate)
        if apart is None or self.apart is None:
            return False
        return apart > max(MOMENTS_APART_MIN, self.apart * FURTHER_MIN)

    def _has_strange_form(self, primary: str, candidate: str) -> bool:
        if primary.isdigit() and candidate.isdigit():  # how many digits is a matter of size
            return False
        said = [text for text in (primary, candidate) if text != ABSENT]
        return any(self.forms.is_strange(form_of(text)) for text in said)

    def odd(self) -> list[str]:
        """What the candidate is, and the primary is not, more often than chance explains."""
        return sorted(self.numbers.odd()) + ["the same"] * self.stuck.is_won

    def _stands(self, text: str) -> bool:
        """Whether *text* may stand while the primary's goes on: what no one writes to does."""
        if number_of(text) is not None:
            return not self.numbers.goes_either_way
        return _moment(text) is not None


@lru_cache(maxsize=REMEMBERED_MAX)
def form_of(text: str) -> str:
    """*text* without what it says: `£12.50` is `£9.9`, a token `x16`, some words `a`, `-3` `-9`.

    A moment is one whatever its fraction, and a number too.
    """
    text = _FRACTION.sub(".9", text[:_FORM_CHARS_MAX])
    if _moment(text) is not None:
        return "moment"
    return _WORDS.sub(_word_form, text)


def _word_form(found: re.Match[str]) -> str:
    word = found[0]
    if " " not in word and len(word) >= _TOKEN_CHARS_MIN and not word.isalpha():
        return f"x{len(word)}"
    if word.isdigit():
        return "9"
    return "a" if word.replace(" ", "").isalpha() else "x"


def looks_document(looks: Looks, by: str = "") -> dict[str, Any]:
    """*looks* as JSON; *by* says whose marks stand for values."""
    return {
        "by": by,
        "forms": None if looks.forms.open else looks.forms.counts,
        "values": None if looks.values.open else looks.values.counts,
        "apart": None if looks.apart is None else looks.apart.total_seconds(),
        "numbers": numbers_document(looks.numbers),
        "stuck": looks.stuck.wealth,
    }


def looks_from(found: Mapping[str, Any], by: str = "") -> Looks:
    """What `looks_document` made; without its values if their marks are not *by* the same.

    Every value would be a strange one then.
    """
    apart, values = found["apart"], found["values"]
    if found.get("by", by) != by and values is not None:
        values = {}
    return Looks(
        _sorts_from(FORMS_MAX, found["forms"]),
        _sorts_from(VALUES_MAX, values),
        None if apart is None else timedelta(seconds=apart),
        numbers_from(found["numbers"]) if "numbers" in found else Numbers(),
        Wager(list(found["stuck"])) if "stuck" in found else Wager(),
        saved=True,
    )


def _sorts_from(most: int, counts: Mapping[str, int] | None) -> Sorts:
    if counts is None:
        return Sorts(most, open=True)
    return Sorts(most, dict(counts), sum(counts.values()))


def _apart(one: str, other: str) -> timedelta | None:
    first, second = _moment(one), _moment(other)
    if first is None or second is None:
        return None
    return abs(first - second)


@lru_cache(maxsize=REMEMBERED_MAX)
def _moment(text: str) -> datetime | None:
    """The moment that *text* is, in RFC 3339 or RFC 9110; a date alone is none."""
    if len(text) < len("2026-11-27T08:00") or not any(char.isdigit() for char in text):
        return None
    try:
        moment = datetime.fromisoformat(text) if text[0].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
