"""Quotas by the calendar of a place: a day, week, month or year there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from moreton.kernel.arguments import check_kind, check_whole
from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.ratelimit.core.windows import Windowed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_NANOS = 86_400 * NANOSECONDS_PER_SECOND


class Span(StrEnum):
    """How long a quota lasts."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


# The longest of each, for what is said about a limit in general.
_DAYS = {Span.DAY: 1, Span.WEEK: 7, Span.MONTH: 31, Span.YEAR: 366}


class CalendarWindow(Windowed):
    """*quota* in each *span* of the calendar in *zone*: a month begins when it does there.

    Weeks begin on Monday. A day on which clocks change is as long as it is. Give `ZoneInfo` as
    *zone*; the names of zones and their rules are data that the caller reads.
    """

    __slots__ = ("span", "zone")

    def __init__(self, quota: int, span: Span | str, *, zone: tzinfo = UTC, name: str = "") -> None:
        if span not in list(Span):
            raise ValueError(f"span is {span!r}: give one of {', '.join(Span)}")
        check_kind("zone", zone, tzinfo, "a ZoneInfo, as ZoneInfo('Europe/Berlin')")
        check_whole("quota", quota, 1, why="nothing would ever pass")
        self.span = Span(span)
        self.zone = zone
        nanos = _DAYS.get(self.span, 1 / 24) * _DAY_NANOS
        super().__init__(name or f"{quota}/{self.span}", quota, int(nanos), 3)

    def bounds(self, now: int) -> tuple[int, int]:
        """See `Windowed.bounds`."""
        moment = _EPOCH + timedelta(microseconds=now // 1000)
        begin = _begin(moment.astimezone(self.zone), self.span)
        end = _nanos(_next(begin, self.span))
        start = _nanos(begin)
        # Where clocks are set back an hour comes twice: both are one span of the calendar.
        return (start, end) if start <= now < end else (now, max(end, now + 1))


def _begin(local: datetime, span: Span) -> datetime:
    hour = local.replace(minute=0, second=0, microsecond=0)
    if span is Span.HOUR:
        return hour
    day = hour.replace(hour=0, fold=0)
    if span is Span.WEEK:
        return day - timedelta(days=day.weekday())
    if span is Span.MONTH:
        return day.replace(day=1)
    return day.replace(month=1, day=1) if span is Span.YEAR else day


def _next(begin: datetime, span: Span) -> datetime:
    if span is Span.HOUR:
        # By the time line: the wall clock of a place has hours that are missing.
        return (begin.astimezone(UTC) + timedelta(hours=1)).astimezone(begin.tzinfo)
    if span is Span.MONTH:
        return (begin + timedelta(days=32)).replace(day=1)
    if span is Span.YEAR:
        return begin.replace(year=begin.year + 1)
    return begin + timedelta(days=7 if span is Span.WEEK else 1)


def _nanos(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
