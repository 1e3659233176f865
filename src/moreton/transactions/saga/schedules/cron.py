"""Times as in a crontab.

Source: crontab(5) of Vixie cron, also for what happens when clocks are changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from moreton.kernel.arguments import check_kind
from moreton.transactions.saga.schedules.rules import utc

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),  # 0 and 7 are Sunday
)
_SHORT = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}  # fmt: skip
# 29 February is eight years apart around 1900 and 2100.
_DAYS_SEARCHED_MAX = 9 * 366
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """Due by the five fields of *line*: minute, hour, day of the month, month, day of the week.

    `*`, lists, ranges, steps and English names are understood, and `@daily` and its like. When both
    days are given, either will do. The times are those of *zone*; one that a clock skips comes when
    the clock is past it, and one that it shows twice comes once, unless every hour is meant.

    Raises `ValueError` for a line that means nothing, or never comes.
    """

    line: str
    zone: str = "UTC"
    _minutes: frozenset[int] = field(init=False, repr=False, compare=False)
    _hours: frozenset[int] = field(init=False, repr=False, compare=False)
    _dates: frozenset[int] = field(init=False, repr=False, compare=False)
    _months: frozenset[int] = field(init=False, repr=False, compare=False)
    _weekdays: frozenset[int] = field(init=False, repr=False, compare=False)
    _either: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_kind("line", self.line, str, 'a line as "0 3 * * *"')
        words = _SHORT.get(self.line.strip(), self.line).split()
        if len(words) != len(_FIELDS):
            raise ValueError(
                f"line is {self.line!r}, which has {len(words)} fields: give five, minute, hour, "
                'day of the month, month, day of the week, as "0 3 * * *"'
            )
        _zone(self.zone)
        found = [_values(word, *what) for word, what in zip(words, _FIELDS, strict=True)]
        found[4] = frozenset(day % 7 for day in found[4])
        names = ("_minutes", "_hours", "_dates", "_months", "_weekdays")
        for name, values in zip(names, found, strict=True):
            object.__setattr__(self, name, values)
        object.__setattr__(self, "_either", not (words[2][0] == "*" or words[4][0] == "*"))
        if not any(self._is_on(date(2024, 1, 1) + _DAY * n) for n in range(366)):
            raise ValueError(f"line is {self.line!r}: no such day ever comes; give another one")

    @property
    def text(self) -> str:
        """See `Rule.text`."""
        return f"cron {' '.join(self.line.split())} {self.zone}"

    def after(self, micros: int) -> int:
        """See `Rule.after`."""
        day = self._day_of(micros) - _DAY  # a clock may be turned back over midnight
        for _ in range(_DAYS_SEARCHED_MAX):
            for due in _on_day(self, day):
                if due > micros:
                    return due
            day += _DAY
        raise AssertionError(f"{self.text} does not come in nine years")

    def latest(self, upto: int, since: int, most: int) -> list[int]:
        """See `Rule.latest`."""
        found: list[int] = []
        day, first = self._day_of(upto) + _DAY, self._day_of(since) - _DAY
        while day >= first and len(found) < most:
            found += [due for due in reversed(_on_day(self, day)) if since <= due <= upto]
            day -= _DAY
        return found[:most][::-1]

    def _day_of(self, micros: int) -> date:
        return utc(micros).astimezone(_zone(self.zone)).date()

    def _is_on(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        in_month, in_week = day.day in self._dates, day.isoweekday() % 7 in self._weekdays
        return in_month or in_week if self._either else in_month and in_week


@lru_cache(maxsize=16)
def _on_day(cron: Cron, day: date) -> tuple[int, ...]:
    """The due times of that day of the rule's zone, in order."""
    if not cron._is_on(day):  # noqa: SLF001 - the same module
        return ()
    found = {due for minute in _local(cron, day) for due in _instants(cron, minute)}
    return tuple(sorted(found))


def _local(cron: Cron, day: date) -> Iterator[datetime]:
    for hour in cron._hours:  # noqa: SLF001 - the same module
        for minute in cron._minutes:  # noqa: SLF001 - as above
            yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=_zone(cron.zone))


def _instants(cron: Cron, local: datetime) -> Iterator[int]:
    """When a clock of the zone shows *local*: once, or twice, or instead of a time it skips."""
    every_hour = len(cron._hours) == 24  # noqa: SLF001 - the same module; a day has them
    first = local.astimezone(UTC)
    is_there = first.astimezone(local.tzinfo).replace(fold=0, tzinfo=None) == local.replace(
        tzinfo=None
    )
    if is_there or not every_hour:
        yield int(first.timestamp()) * 1_000_000
    if is_there and every_hour:
        yield int(local.replace(fold=1).timestamp()) * 1_000_000


@lru_cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"zone is {name!r}, which this machine does not know: times could not be told; give "
            'one as "Europe/Berlin", or install the package tzdata'
        ) from error


def _values(word: str, what: str, least: int, most: int, names: tuple[str, ...]) -> frozenset[int]:
    """The numbers that *word* allows."""
    found: set[int] = set()
    for part in word.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            start = least if first == "*" else _number(first, names, least)
            end = most if first == "*" or (step and not dash) else start
            if dash:
                end = _number(last, names, least)
            stride = int(step) if "/" in part else 1
            fits = least <= start <= end <= most and stride > 0 and (first != "*" or not dash)
        except ValueError:
            fits = False
        if not fits:
            named = f" or {names[0]} to {names[-1]}" if names else ""
            raise ValueError(
                f"{what} is {part!r}: give {least} to {most}{named}, a range as {least}-{most}, "
                "a step as */2, or several with commas"
            )
        found.update(range(start, end + 1, stride))
    return frozenset(found)


def _number(word: str, names: tuple[str, ...], least: int) -> int:
    return names.index(word) + least if word in names else int(word)
