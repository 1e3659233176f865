"""Durations, rates, sizes and percentages, as people write them.

`250ms`, `5s`, `2m`, `1h`, `1d` · `100/s`, `1000/min` · `64KiB`, `1MB` · `25%`.
Every parser raises `ValueError` with a message that says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

_DURATION_UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
# A century: what ends later, never ends; and dates can be reckoned with it.
_DURATION_MAX, _DURATION_MAX_TEXT = timedelta(days=36_500), "36500d"
_COUNT_DIGITS_MAX = 15  # a float tells such counts apart
_RATE_UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400}
_SIZE_UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]+)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d*)\s*([a-z]+)")


@dataclass(frozen=True, slots=True)
class Rate:
    """*count* events in every *per*."""

    count: float
    per: timedelta

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.count / self.per.total_seconds()


def parse_duration(text: str) -> timedelta:
    """`250ms`, `5s`, `2m`, `1h`, `1d`, or `0`; never negative."""
    if text.strip() == "0":
        return timedelta(0)
    number, unit = _split(text, _DURATION_UNITS, "a duration", "250ms, 5s, 2m or 1h")
    micros = number * (_DURATION_UNITS[unit] // timedelta(microseconds=1))
    if micros > _DURATION_MAX // timedelta(microseconds=1):
        message = f"{text!r} is too long; write a duration of at most {_DURATION_MAX_TEXT}"
        raise ValueError(message)
    return timedelta(microseconds=float(micros))


def format_duration(length: timedelta) -> str:
    """The shortest form that `parse_duration` reads back as *length*."""
    micros = length // timedelta(microseconds=1)
    if micros == 0:
        return "0"
    for unit in ("d", "h", "m", "s", "ms"):
        size = _DURATION_UNITS[unit] // timedelta(microseconds=1)
        if micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros}us"


def parse_size(text: str) -> int:
    """`64KiB`, `1MB`, `512B`: a number of bytes."""
    number, unit = _split(text, _SIZE_UNITS, "a size", "64KiB, 1MB or 512B")
    return int(number * _SIZE_UNITS[unit])


def parse_percentage(text: str) -> float:
    """`25%`: a share in [0, 1]."""
    number, _ = _split(text, {"%": 1}, "a percentage", "25% or 0.5%")
    if number > 100:
        message = f"{text!r} is more than 100%; write a percentage from 0% to 100%"
        raise ValueError(message)
    return float(number / 100)


def parse_rate(text: str) -> Rate:
    """`100/s`, `1000/min`, `5000/h`, `10000/d`, `20/5min`; more than zero."""
    found = _RATE.fullmatch(text.strip())
    if found is None or found[3] not in _RATE_UNITS or float(found[1]) == 0 or found[2] == "0":
        message = f"{text!r} is not a rate; write one like 100/s, 1000/min or 20/5min"
        raise ValueError(message)
    per = int(found[2] or 1) * _RATE_UNITS[found[3]]
    if len(found[1].partition(".")[0]) > _COUNT_DIGITS_MAX or per > _DURATION_MAX.total_seconds():
        message = (
            f"{text!r} is beyond what is counted; write at most {_COUNT_DIGITS_MAX} digits, in at "
            f"most {_DURATION_MAX_TEXT}"
        )
        raise ValueError(message)
    return Rate(count=float(found[1]), per=timedelta(seconds=per))


def _split(
    text: str, units: Mapping[str, object], kind: str, examples: str
) -> tuple[Fraction, str]:
    found = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if found is None or found[2] not in units:
        message = f"{text!r} is not {kind}; write one like {examples}"
        raise ValueError(message)
    return Fraction(found[1]), found[2]
