"""Durations as Go reads and prints them, in whole nanoseconds.

Source: package `time` of Go, `ParseDuration` and `Duration.String`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_UNITS = {
    "ns": 1,
    "us": MICROSECOND,
    "µs": MICROSECOND,  # the micro sign
    "μs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_INT64_MAX = (1 << 63) - 1
# No duration that is meant has more; digits cost time to read.
_CHARS_MAX = 64


def parse_duration(text: str) -> int:
    """`1h30m`, `120000ms`, `1.5s`, `0`: nanoseconds.

    Raises `ValueError`, in Go's words, for anything else, and beyond 292 years.
    """
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text[text[:1] == "+" :])
    if rest == "0":
        return 0
    total = Fraction(0)
    position = 0
    if len(rest) > _CHARS_MAX:
        raise ValueError(_invalid(f"{text[:_CHARS_MAX]}…"))
    while found := _PART.match(rest, position):
        number = found[1] if found[1][-1] != "." else found[1][:-1]
        total += Fraction(number) * _UNITS[found[2]]
        position = found.end()
    if position == 0 or position < len(rest) or total > _INT64_MAX:
        raise ValueError(_invalid(text))
    return sign * int(total)


def format_duration(nanos: int) -> str:
    """`1h30m0s`, `1.5s`, `100ms`, `0s`: as Go prints it."""
    sign, rest = ("-", -nanos) if nanos < 0 else ("", nanos)
    if rest == 0:
        return "0s"
    if rest < SECOND:
        unit = next(name for name in ("ms", "µs", "ns") if rest >= _UNITS[name])
        return f"{sign}{_decimal(rest, _UNITS[unit])}{unit}"
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    seconds = f"{_decimal(rest, SECOND)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else f"{sign}{seconds}"


def to_timedelta(nanos: int) -> timedelta:
    """The same length, cut to whole microseconds."""
    return timedelta(microseconds=nanos // MICROSECOND)


def _decimal(nanos: int, unit: int) -> str:
    whole, part = divmod(nanos, unit)
    if not part:
        return str(whole)
    digits = str(unit + part)[1:].rstrip("0")
    return f"{whole}.{digits}"


def _invalid(text: str) -> str:
    return f'time: invalid duration "{text}"'
