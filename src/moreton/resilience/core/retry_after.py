"""What a server asks for by `Retry-After`: seconds, or a date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# Five digits are a day; longer ones are no advice but a refusal, and the cap holds anyway.
_DIGITS_MAX = 9
_SECONDS_MAX = 10**_DIGITS_MAX


def parse_retry_after(value: str, wall: datetime) -> timedelta | None:
    """How long *value* asks to wait at the calendar time *wall*; `None` when it says nothing.

    A malformed value, and a date that has passed, say nothing: the back-off alone counts.

    Source: RFC 9110, section 10.2.3.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text)) if len(text) <= _DIGITS_MAX else timedelta.max
    date = _date(text)
    if date is None:
        return None
    wait = date - wall
    return wait if wait > timedelta(0) else None


def wall_of(headers: Mapping[str, str], wall: datetime) -> datetime:
    """The time by which an answer names moments: its `Date`, else *wall*, that of this machine.

    Two machines' clocks differ, by minutes at times: a date half a minute ahead there may have
    passed here.
    """
    value = headers.get("date")
    return (None if value is None else _date(value)) or wall


def retry_after_of(headers: Mapping[str, str], problem: object, wall: datetime) -> timedelta | None:
    """The wait that an answer asks for: its header, else a member `retry_after` of its problem.

    *headers* has lower-case names or ignores case; *problem* is the parsed body of an
    `application/problem+json` answer, or anything.
    """
    value = headers.get("retry-after")
    if value is not None:
        return parse_retry_after(value, wall_of(headers, wall))
    if isinstance(problem, Mapping):
        for name in ("retry_after", "retry-after", "retryAfter"):
            member = problem.get(name)
            if isinstance(member, int | float) and not isinstance(member, bool) and member >= 0:
                return timedelta(seconds=member) if member < _SECONDS_MAX else timedelta.max
            if isinstance(member, str):
                return parse_retry_after(member, wall)
    return None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
