"""How much a limit lets pass, as `moreton.yaml` writes it.

`100/s`, `20/5min` are rates; `10000/day`, `1000000/month` quotas of the calendar; `20 at once` and
`adaptive` bound work under way; `0` lets nothing pass. Several hold together.
"""

from __future__ import annotations

import re
from datetime import timedelta, tzinfo
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from moreton.config import Duration, Percentage, Section
from moreton.config.words import text
from moreton.kernel.quantities import Rate, parse_rate
from moreton.ratelimit.config.words import AlgorithmWord, Written
from moreton.ratelimit.core.calendar import Span
from moreton.ratelimit.core.limit import rate_name
from moreton.ratelimit.core.rules.bounds import (
    AdmissionBound,
    Algorithm,
    Bound,
    QuotaBound,
    RateBound,
    WorkBound,
)

_QUOTA = re.compile(rf"(\d+)\s*/\s*({'|'.join(Span)})")
_AT_ONCE = re.compile(r"(\d+|adaptive)(?:\s+at\s+(?:once|a\s+time))?")
_NOTHING = re.compile(r"0+(\.0+)?\s*(/.*|\s+at once)?")
_PERIOD_OF_NOTHING = re.compile(r"[\d.]+\s*/\s*0+\s*[a-z]+")
_UNITS = {"second": "s", "minute": "min", "day": "day", "week": "week", "month": "month"}
_UNITS |= {"hour": "h", "year": "year"}
_SPELLED = re.compile(rf"(\d+)\s*(?:/|per|an?)\s*({'|'.join(_UNITS)})s?")
_KINDS = ("rate", "quota", "at_once", "admission")
_BURST_MAX = 2**31
_TEXT = {"type": "string", "examples": ["100/s", "10000/day", "20 at once", "adaptive"]}
# They count, so that what may come at once is their count.
_COUNTING = frozenset({Algorithm.FIXED_WINDOW, Algorithm.SLIDING_COUNTER, Algorithm.SLIDING_LOG})


def read_rate(value: Any) -> Rate:
    """`100/s`, `20/5min`."""
    if isinstance(value, Rate):
        return value
    if isinstance(value, str) and _PERIOD_OF_NOTHING.fullmatch(value.strip()):
        raise ValueError(
            f"{value!r} has a period of 0, in which nothing can be counted; write one like 100/s"
        )
    spelled = _SPELLED.fullmatch(str(value).strip().lower())
    if spelled is not None:
        unit = _UNITS[spelled[2]]
        raise ValueError(f"{value!r} is not how a rate is written; write {spelled[1]}/{unit}")
    try:
        return parse_rate(str(value))
    except ValueError as error:
        raise ValueError(f"{error}, or a quota like 10000/day") from None


def read_quota(value: Any) -> tuple[int, Span]:
    """`10000/day`, `1000000/month`."""
    found = _QUOTA.fullmatch(str(value).strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{value!r} is not a quota; write one like 10000/day or 1000000/month")
    return int(found[1]), Span(found[2])


class AdmissionModel(Section):
    """Refuse at random as much as keeps answers from failing; at gateways."""

    success: Percentage = 0.95
    window: Duration = timedelta(seconds=30)
    rate_min: Annotated[int, Field(ge=0)] = 5  # requests a second below which all pass
    refuse_max: Percentage = 0.8


class BoundModel(Section):
    """One bound: exactly one of `rate`, `quota`, `at_once` and `admission`."""

    rate: Annotated[Rate, *text(read_rate, "100/s")] | None = None
    quota: Annotated[tuple[int, Span], *text(read_quota, "10000/day")] | None = None
    at_once: Annotated[int, Field(ge=1)] | Literal["adaptive"] | None = None
    admission: AdmissionModel | None = None
    burst: Annotated[int, Field(ge=1, le=_BURST_MAX)] | None = None
    algorithm: AlgorithmWord | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            had = " and ".join(given) or f"none of {', '.join(_KINDS)}"
            raise ValueError(f"it has {had}; give it exactly one of {', '.join(_KINDS)}")
        if self.rate is None and (self.burst is not None or self.algorithm is not None):
            raise ValueError(f"burst and algorithm are of rates, and it has {given[0]}; remove it")
        value = self.as_value(None, None, None)
        if not isinstance(value, AdmissionBound):
            value.as_limit("")
        return self

    def as_value(self, burst: int | None, algorithm: str | None, zone: tzinfo | None) -> Bound:
        """The core's value; *burst*, *algorithm* and *zone* are those of the rule."""
        if self.quota is not None:
            count, span = self.quota
            return QuotaBound(count, span) if zone is None else QuotaBound(count, span, zone)
        if self.at_once is not None:
            return WorkBound(None if self.at_once == "adaptive" else self.at_once)
        if self.admission is not None:
            told = self.admission
            return AdmissionBound(told.success, told.window, told.rate_min, told.refuse_max)
        assert self.rate is not None, "there is exactly one"
        algorithm = Algorithm(self.algorithm or algorithm or Algorithm.GCRA)
        burst = self.burst if self.burst is not None else burst
        count = max(1, int(self.rate.count))
        if algorithm in _COUNTING:
            if burst not in {None, count}:
                raise ValueError(
                    f"burst is {burst}, and {algorithm} counts: {rate_name(self.rate)} may come at "
                    "once; leave burst out, or take gcra"
                )
            burst = count
        return RateBound(self.rate, count if burst is None else burst, algorithm)


def _short(value: Any) -> Any:
    """Text alone stands for the mapping of its kind."""
    if isinstance(value, dict | BoundModel) or value is None:
        return value
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a limit; write one like 100/s")  # noqa: TRY004 - pydantic's
    if isinstance(value, int | float):
        raise ValueError(f"{value} has no period; write it like {value}/s, or {value} at once")  # noqa: TRY004 - pydantic's
    stripped = str(value).strip()
    if _AT_ONCE.fullmatch(stripped):
        count = stripped.split()[0]
        if count.isdigit() and stripped == count:
            raise ValueError(f"{count} has no period; write it like {count}/s, or {count} at once")
        return {"at_once": int(count) if count.isdigit() else count}
    if stripped.rpartition("/")[2] in list(Span):
        return {"quota": stripped}
    return {"rate": stripped}


def _bounds(value: Any) -> Any:
    """A list of bounds; none for `0`."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    nothing = [
        one
        for one in items
        if isinstance(one, int | float | str)
        and not isinstance(one, bool)
        and _NOTHING.fullmatch(str(one).strip())
    ]
    if not nothing:
        if not items:
            raise ValueError("it has no limit; write one like 100/s, or 0 to let nothing pass")
        return items
    if len(items) > 1:
        raise ValueError(
            f"{nothing[0]} lets nothing pass, so the others would never count; keep one of them"
        )
    return []


BoundText = Annotated[BoundModel, Written(_short, _TEXT)]
BoundsText = Annotated[list[BoundText], Written(_bounds, _TEXT, {"const": 0})]
