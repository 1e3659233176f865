"""When something is due. Moments are microseconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from moreton.kernel.arguments import check_duration
from moreton.kernel.quantities import format_duration

_MICRO = timedelta(microseconds=1)
# A worker looks a few times a second.
INTERVAL_MIN = timedelta(seconds=1)


class Rule(Protocol):
    """A row of due times without an end."""

    @property
    def text(self) -> str:
        """The rule as people read it; the same text means the same times."""
        ...

    def after(self, micros: int) -> int:
        """The first due time later than *micros*."""
        ...

    def latest(self, upto: int, since: int, most: int) -> list[int]:
        """The newest *most* due times in [*since*, *upto*], the oldest of them first."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """Due each *interval*, counted from 1970 in UTC plus *offset*: every 5 min is at :00, :05.

    So every engine agrees on the times, also after a restart.
    """

    interval: timedelta
    offset: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        check_duration("interval", self.interval)
        check_duration("offset", self.offset, zero=True)
        if self.interval < INTERVAL_MIN:
            raise ValueError(
                f"interval is {format_duration(self.interval)}, and schedules are looked at a few "
                f"times a second: give {format_duration(INTERVAL_MIN)} or more, or let one saga "
                "do the work of several"
            )
        if self.offset >= self.interval:
            raise ValueError(
                f"offset is {format_duration(self.offset)}, which is not within the interval of "
                f"{format_duration(self.interval)}: give a shorter one"
            )

    @property
    def text(self) -> str:
        """See `Rule.text`."""
        after = f" + {format_duration(self.offset)}" if self.offset else ""
        return f"every {format_duration(self.interval)}{after}"

    def after(self, micros: int) -> int:
        """See `Rule.after`."""
        length, start = self._micros()
        return micros + length - (micros - start) % length

    def latest(self, upto: int, since: int, most: int) -> list[int]:
        """See `Rule.latest`."""
        length, start = self._micros()
        newest = upto - (upto - start) % length
        count = min(most, (newest - since) // length + 1)
        return [newest - back * length for back in reversed(range(count))]

    def _micros(self) -> tuple[int, int]:
        return self.interval // _MICRO, self.offset // _MICRO


def utc(micros: int) -> datetime:
    """*micros* as a date and time."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC) + timedelta(microseconds=micros % 10**6)


def stamp(micros: int) -> str:
    """*micros* as it stands in ids: to the second where that is exact."""
    return utc(micros).replace(tzinfo=None).isoformat() + "Z"
