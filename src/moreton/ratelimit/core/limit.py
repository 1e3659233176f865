"""What every limit can do with the state of one key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import ClassVar, Protocol

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.quantities import Rate, format_duration, parse_rate
from moreton.kernel.time import NANOSECONDS_PER_SECOND, nanos_of

NEVER = -1
# What is owed after costs that were charged after the fact; keeps every moment within 64 bits.
DEBT_NANOS_MAX = 10 * 366 * 86_400 * NANOSECONDS_PER_SECOND
PERIOD_NANOS_MAX = 10 * DEBT_NANOS_MAX
QUOTA_MAX = 2**53  # of Redis, whose numbers are doubles


class Cells(Protocol):
    """A row of 64-bit integers."""

    def __getitem__(self, place: int, /) -> int: ...

    def __setitem__(self, place: int, value: int, /) -> None: ...


class Limit(ABC):
    """A bound on what one key may do; the state of the key is *cells*, changed in place.

    `quota` is the most that can be had at once, `period_nanos` the time after which all of it is
    there again. Costs are whole numbers, 0 or more.
    """

    __slots__ = ("name", "period_nanos", "quota", "width")

    on_calendar: ClassVar[bool] = False  # its time is the calendar's
    reservable: ClassVar[bool] = False  # what is not there yet can be taken ahead
    held: ClassVar[bool] = False  # what was taken is given back when the work is done
    patience_nanos: int = 0  # how long its own queue lets a request wait

    def __init__(self, name: str, quota: int, period_nanos: int, width: int) -> None:
        check_kind("name", name, str)
        check_whole("quota", quota, 1, QUOTA_MAX, "nothing, or anything, would pass")
        if period_nanos > PERIOD_NANOS_MAX:
            raise ValueError(
                f"{name}: all of it is there again after more than a hundred years, which cannot "
                "be kept; give a lower burst, or a higher rate"
            )
        self.name = name
        self.quota = quota
        self.period_nanos = period_nanos
        self.width = width  # cells of a state

    @property
    def present_quota(self) -> int:
        """What can be had at once now; only an adaptive limit changes it."""
        return self.quota

    @abstractmethod
    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """Nanoseconds until *cost* is there: 0 when it is, `NEVER` when it is above the quota."""

    @abstractmethod
    def take(self, cells: Cells, now: int, cost: int) -> None:
        """Charge *cost* at *now*, whether it is there or not."""

    @abstractmethod
    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:
        """Give back *cost* that was charged at *taken*; never more than was charged."""

    @abstractmethod
    def left(self, cells: Cells, now: int) -> int:
        """What is there, 0 or more."""

    @abstractmethod
    def full_in(self, cells: Cells, now: int) -> int:
        """Nanoseconds until the key is as if it had never been seen."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def fresh(limit: Limit) -> list[int]:
    """The state of a key that was never seen."""
    return [0] * limit.width


def rate_of(rate: Rate | str) -> Rate:
    """*rate* as it is or as people write it: `100/s`, `20/5min`."""
    if isinstance(rate, str):
        return parse_rate(rate)
    check_kind("rate", rate, Rate, "a rate like '100/s'")
    check_duration("the period of the rate", rate.per, "nothing would ever come free")
    return rate


def interval_nanos(rate: Rate) -> int:
    """The time for one, in nanoseconds, rounded up: never more than the rate."""
    if not rate.count > 0:
        raise ValueError(f"the rate is {rate.count:g}: nothing would pass; give one above 0")
    exact = Fraction(nanos_of(rate.per)) / Fraction(str(rate.count))
    if exact < 1:
        raise ValueError(
            f"the rate is {rate.count:g} in {format_duration(rate.per)}: more than one a "
            "nanosecond cannot be told apart; give a lower one"
        )
    return ceil(exact)


def whole_count(rate: Rate) -> int:
    """The count of *rate*, for limits that count; raises `ValueError` for a fraction."""
    if rate.count != int(rate.count) or rate.count < 1:
        raise ValueError(
            f"the rate is {rate.count:g} in {format_duration(rate.per)}: a window counts whole "
            "requests; give a whole number of 1 or more, in a longer period"
        )
    return int(rate.count)


def rate_name(rate: Rate) -> str:
    """`100/s`, `20/5m`: how a limit without a name is called."""
    per = format_duration(rate.per)
    return f"{rate.count:g}/{per[1:] if per[0] == '1' and not per[1].isdigit() else per}"


def seconds_of(nanos: int) -> float:
    """*nanos* as seconds."""
    return nanos / NANOSECONDS_PER_SECOND


def duration_of(nanos: int) -> timedelta:
    """*nanos* as a duration, rounded up: who waits so long does not come too early."""
    return timedelta(microseconds=-(-nanos // 1000))
