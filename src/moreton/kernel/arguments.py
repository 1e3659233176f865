"""Arguments that cannot be meant: refused where they are given, with what to give instead.

*name* is the argument's; *why* says what its value would do, and is left out where that is plain.
Every check raises `TypeError` for a value of another kind and `ValueError` for one out of range.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from math import inf

_ZERO = timedelta(0)


def check_kind(name: str, value: object, kind: type, instead: str = "") -> None:
    """*value* is a *kind*; *instead* says what to give where the name of the class does not."""
    if isinstance(value, kind):
        return
    if issubclass(kind, Enum):
        instead = ", ".join(f"{kind.__name__}.{one.name}" for one in kind)
    raise TypeError(f"{name} is {value!r}: give {instead or f'a {kind.__name__}'}")


def check_duration(name: str, value: object, why: str = "", *, zero: bool = False) -> None:
    """*value* is a `timedelta` above 0, or 0 where *zero* may be."""
    if not isinstance(value, timedelta):
        number = value if _is_number(value) else 2
        raise TypeError(f"{name} is {value!r}: give a timedelta, as timedelta(seconds={number})")
    if value < _ZERO or (value == _ZERO and not zero):
        span = "0 or more" if zero else "a duration above 0"
        raise ValueError(f"{name} is {value.total_seconds():g} s{_reason(why)}; give {span}")


def check_whole(
    name: str, value: object, least: int, most: int | None = None, why: str = ""
) -> None:
    """*value* is a whole number in [*least*, *most*]."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: give a whole number")
    if value < least or (most is not None and value > most):
        span = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {value}{_reason(why)}; give {span}")


def check_number(
    name: str, value: object, least: float, most: float = inf, why: str = "", *, above: bool = False
) -> None:
    """*value* is a finite number in [*least*, *most*], or in (*least*, *most*] if it is *above*."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: give a number")
    # Written so that what is not a number is outside.
    if not (least <= value <= most and abs(value) < inf) or (above and value == least):
        span = f"above {least:g}" if above else f"{least:g} or more"
        upto = "" if most == inf else f", up to {most:g}"
        raise ValueError(f"{name} is {value:g}{_reason(why)}; give {span}{upto}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reason(why: str) -> str:
    return why and f": {why}"
