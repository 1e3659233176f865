"""What a rule does with two values that are not the same: when they count as equal all the same."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from moreton.kernel.quantities import parse_duration, parse_percentage
from moreton.strangler.compare.core.differences import Kind

_SPACE = re.compile(r"\s+")
_TEXT_CHARS_MAX = 10_000  # of what an expression is tried on
_VALUES = frozenset({Kind.VALUE, Kind.TYPE})


class Treatment(Protocol):
    """When two values that differ count as equal."""

    @abstractmethod
    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether the difference of *kind* between the two is none."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Whatever it is; of *kinds* alone, where some are named."""

    kinds: tuple[Kind, ...] = tuple(Kind)

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:  # noqa: ARG002
        """Whether differences of *kind* are ignored."""
        return kind in self.kinds


@dataclass(frozen=True, slots=True)
class Sort:
    """Items in any order; with *by*, those with the same value of that member belong together."""

    by: str = ""

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:  # noqa: ARG002
        """Whether only the order differs; the items themselves are compared where they are."""
        return kind is Kind.ORDER


@dataclass(frozen=True, slots=True)
class Rounded:
    """Numbers that are the same to *digits* places after the point."""

    digits: int

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether both are numbers, or both texts of numbers, that round to the same."""
        one, other = _number(primary), _number(candidate)
        if kind not in _VALUES or one is None or other is None:
            return False
        return round(one, self.digits) == round(other, self.digits)


@dataclass(frozen=True, slots=True)
class Within:
    """Numbers that are not further apart than the *share*, in [0, 1], of the larger."""

    share: float

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether both are numbers, or both texts of numbers, that are near each other."""
        one, other = _number(primary), _number(candidate)
        if kind not in _VALUES or one is None or other is None:
            return False
        return math.isclose(one, other, rel_tol=self.share)


@dataclass(frozen=True, slots=True)
class Moments:
    """The same moment, whatever zone it is told in, or moments at most *apart*."""

    apart: timedelta = timedelta(0)

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether both are times, in RFC 3339, RFC 9110 or seconds since 1970, and that near."""
        one, other = _moment(primary), _moment(candidate)
        if kind is not Kind.VALUE or one is None or other is None:
            return False
        return abs(one - other) <= self.apart


@dataclass(frozen=True, slots=True)
class Folded:
    """Texts that are the same but for large and small letters, or for white space."""

    case: bool = False
    space: bool = False

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether nothing else differs."""
        if kind is not Kind.VALUE or not _texts(primary, candidate):
            return False
        return self._fold(primary) == self._fold(candidate)

    def _fold(self, text: str) -> str:
        text = _SPACE.sub(" ", text).strip() if self.space else text
        return text.casefold() if self.case else text


@dataclass(frozen=True, slots=True)
class Matching:
    """Texts that both look like *expression*: ids, tokens, checksums."""

    expression: re.Pattern[str]

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether both are texts, or numbers, that match as a whole."""
        return kind is Kind.VALUE and all(
            isinstance(value, str | int)
            and self.expression.fullmatch(str(value)[:_TEXT_CHARS_MAX]) is not None
            for value in (primary, candidate)
        )


@dataclass(frozen=True, slots=True)
class Without:
    """Texts that are the same once what *expression* finds is taken out of both."""

    expression: re.Pattern[str]

    def same(self, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether nothing else differs."""
        if kind is not Kind.VALUE or not _texts(primary, candidate):
            return False
        return self._rest(primary) == self._rest(candidate)

    def _rest(self, text: str) -> str:
        return self.expression.sub("", text[:_TEXT_CHARS_MAX]) + text[_TEXT_CHARS_MAX:]


def parse_treatment(text: str) -> Treatment:
    """What a rule says in words.

    `ignore`, `ignore extra`, `sort`, `sort by id`, `round 2`, `within 1%`, `moment`, `case`,
    `moment within 2s`, `space`, `matching [0-9a-f]{32}`, `without [?]v=[0-9]+`.

    Raises `ValueError` for what is none of them.
    """
    verb, _, rest = text.strip().partition(" ")
    read = _VERBS.get(verb)
    if read is None:
        raise ValueError(f"{text!r} is no treatment; write one of {', '.join(_VERBS)}")
    try:
        return read(rest.strip())
    except (ValueError, re.error) as error:
        raise ValueError(f"{text!r} is no treatment: {error}") from error


def _ignore(rest: str) -> Treatment:
    return Ignore(tuple(Kind(word) for word in rest.split())) if rest else Ignore()


def _sort(rest: str) -> Treatment:
    if rest and not rest.startswith("by "):
        raise ValueError("write `sort`, or `sort by id`")
    return Sort(rest.removeprefix("by ").strip())


def _round(rest: str) -> Treatment:
    if not rest.isascii() or not rest.isdigit():
        raise ValueError("write how many digits after the point, like `round 2`")
    return Rounded(int(rest))


def _moment_words(rest: str) -> Treatment:
    if rest and not rest.startswith("within "):
        raise ValueError("write `moment`, or `moment within 2s`")
    return Moments(parse_duration(rest.removeprefix("within ")) if rest else timedelta(0))


def _expression(rest: str) -> re.Pattern[str]:
    if not rest:
        raise ValueError("write a regular expression after it")
    return re.compile(rest)


def _bare(treatment: Treatment) -> Callable[[str], Treatment]:
    def read(rest: str) -> Treatment:
        if rest:
            raise ValueError(f"{rest!r} is too much")
        return treatment

    return read


_VERBS: Mapping[str, Callable[[str], Treatment]] = {
    "ignore": _ignore,
    "sort": _sort,
    "round": _round,
    "within": lambda rest: Within(parse_percentage(rest)),
    "moment": _moment_words,
    "case": _bare(Folded(case=True)),
    "space": _bare(Folded(space=True)),
    "matching": lambda rest: Matching(_expression(rest)),
    "without": lambda rest: Without(_expression(rest)),
}


def _texts(primary: Any, candidate: Any) -> bool:
    return isinstance(primary, str) and isinstance(candidate, str)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    moment = _http_date(value) if isinstance(value, str) else None
    if moment is None:
        try:
            moment = (
                datetime.fromisoformat(value)
                if isinstance(value, str)
                else datetime.fromtimestamp(value, UTC)
            )
        except (ValueError, OverflowError, OSError):
            return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _http_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
