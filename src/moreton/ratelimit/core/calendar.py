"""Quotas by the calendar of a place: a day, week, month or year there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from moreton.kernel.arguments import check_kind, check_whole
from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.ratelimit.core.windows import Windowed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
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

    Weeks begin on Monday. A day on which clocks change is as long as it is; an hour that comes
    twice is two, and one in which the clock is set is cut there. Give `ZoneInfo` as *zone*; the
    names of zones and their rules are data that the caller reads.
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
        if self.span is Span.HOUR:
            return _hour(moment, self.zone)
        begin = _begin(moment.astimezone(self.zone), self.span)
        following = _next(begin, self.span)
        # A midnight that comes twice ends the day that was only interrupted by the first one.
        ends = (_nanos(following), _nanos(following.replace(fold=1)))
        return _nanos(begin), next((end for end in ends if now < end), now + 1)


def _hour(moment: datetime, zone: tzinfo) -> tuple[int, int]:
    """The hour of the clock there, as far as that was not set meanwhile.

    By the time line: the wall clock of a place has hours that are missing, come twice, or are half.
    """
    local = moment.astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    begin, end = moment - into, moment - into + timedelta(hours=1)
    return (
        _nanos(_reach(moment, begin, zone)),
        _nanos(_reach(moment, end - _MICRO, zone) + _MICRO),
    )


def _reach(moment: datetime, far: datetime, zone: tzinfo) -> datetime:
    """How far on the way from *moment* to *far* the clock of *zone* was not set."""
    offset = moment.astimezone(zone).utcoffset()
    if far.astimezone(zone).utcoffset() == offset:
        return far
    near = moment
    while abs(far - near) > _MICRO:
        middle = near + (far - near) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            near = middle
        else:
            far = middle
    return near


def _begin(local: datetime, span: Span) -> datetime:
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if span is Span.WEEK:
        return day - timedelta(days=day.weekday())
    if span is Span.MONTH:
        return day.replace(day=1)
    return day.replace(month=1, day=1) if span is Span.YEAR else day


def _next(begin: datetime, span: Span) -> datetime:
    if span is Span.MONTH:
        return (begin + timedelta(days=32)).replace(day=1)
    if span is Span.YEAR:
        return begin.replace(year=begin.year + 1)
    return begin + timedelta(days=7 if span is Span.WEEK else 1)


def _nanos(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
