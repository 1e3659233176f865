"""The header fields by which a server tells of its limits, written and read.

Sources: draft-ietf-httpapi-ratelimit-headers-10 and -03; RFC 9110 for Retry-After; RFC 9651 for the
structured fields of the former.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.ratelimit.core.decision import Decision, Standing
from moreton.ratelimit.core.limit import NEVER

# A number above is a moment since 1970 where some servers write one, and below a length.
_MOMENT_MIN = 1_000_000_000
_FIELD_CHARS_MAX = 4096
_ITEM = re.compile(r'\s*"((?:[^"\\]|\\["\\])*)"((?:\s*;\s*[a-z*][a-z0-9_.*-]*(?:=[^;,"]*)?)*)\s*')
_PARAMETER = re.compile(r";\s*([rt])=(\d{1,15})\s*(?=;|$)")
_WHOLE = re.compile(r"\s*(\d{1,15})(?:\.\d*)?\s*(?:[,;].*)?")


class FieldStyle(StrEnum):
    """In which words: of the tenth draft, the third, as many did before, or not at all."""

    DRAFT_10 = "draft-10"
    DRAFT_03 = "draft-03"
    LEGACY = "legacy"
    OFF = "off"


def fields_of(decision: Decision, style: FieldStyle) -> list[tuple[str, str]]:
    """The header fields of an answer to a request about which *decision* was made.

    A refusal tells of the limit that refused alone, so that nobody reads an earlier moment than
    that of `Retry-After`, which it has in every style.
    """
    found = _styled(decision, style) if decision.standings else []
    if not decision.allowed and decision.retry_nanos != NEVER:
        found.append(("retry-after", str(max(1, _seconds(decision.retry_nanos)))))
    return found


def _styled(decision: Decision, style: FieldStyle) -> list[tuple[str, str]]:
    standings = decision.standings
    if not decision.allowed:
        by = [one for one in standings if one.limit.name == decision.refused_by]
        standings = tuple(by) or standings
    if style is FieldStyle.DRAFT_10:
        return [
            ("ratelimit-policy", ", ".join(_policy(one) for one in standings)),
            ("ratelimit", ", ".join(_state(one, decision) for one in standings)),
        ]
    if style is FieldStyle.OFF:
        return []
    tightest = min(standings, key=lambda one: one.left)
    limit = tightest.limit
    prefix = "x-ratelimit" if style is FieldStyle.LEGACY else "ratelimit"
    window = f", {limit.quota};w={_window(tightest)}" if style is FieldStyle.DRAFT_03 else ""
    return [
        (f"{prefix}-limit", f"{limit.quota}{window}"),
        (f"{prefix}-remaining", str(tightest.left)),
        (f"{prefix}-reset", str(_reset(tightest, decision))),
    ]


def _policy(standing: Standing) -> str:
    limit = standing.limit
    unit = ';qu="concurrent-requests"' if limit.held else f";w={_window(standing)}"
    return f"{_string(limit.name)};q={limit.quota}{unit}"


def _state(standing: Standing, decision: Decision) -> str:
    name = _string(standing.limit.name)
    return f"{name};r={standing.left};t={_reset(standing, decision)}"


def _window(standing: Standing) -> int:
    return max(1, _seconds(standing.limit.period_nanos))


def _reset(standing: Standing, decision: Decision) -> int:
    """Seconds until more is there: what was refused, or all of it."""
    if not decision.allowed and standing.limit.name == decision.refused_by:
        return max(0, _seconds(decision.retry_nanos)) if decision.retry_nanos != NEVER else 0
    return _seconds(standing.full_in_nanos)


def _seconds(nanos: int) -> int:
    return -(-nanos // NANOSECONDS_PER_SECOND)


def _string(name: str) -> str:
    """*name* as a string of structured fields, which knows ASCII alone."""
    plain = "".join(char if " " <= char <= "~" else "?" for char in name)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Told:
    """What a server said of its limit: *left* requests, and in *seconds* there are more."""

    left: int
    seconds: int


def read_fields(headers: Mapping[str, str], since_1970: float) -> Told | None:
    """What *headers* (lower-case names, or ignoring case) tell; `None` when they say nothing.

    Of several limits the one with the least left, and of these the latest. What is malformed says
    nothing.
    """
    value = headers.get("ratelimit")
    if value is not None and '"' in value:
        told = _read_items(value)
        if told is not None:
            return told
    for prefix in ("ratelimit", "x-ratelimit", "x-rate-limit"):
        left = _WHOLE.fullmatch(headers.get(f"{prefix}-remaining", ""))
        reset = _WHOLE.fullmatch(headers.get(f"{prefix}-reset", ""))
        if left is not None and reset is not None:
            seconds = int(reset[1])
            if seconds >= _MOMENT_MIN:
                seconds = max(0, round(seconds - since_1970))
            return Told(int(left[1]), seconds)
    return None


def _read_items(value: str) -> Told | None:
    """The tightest of the items of a RateLimit field."""
    found: list[Told] = []
    place = 0
    while place < len(value) <= _FIELD_CHARS_MAX:
        item = _ITEM.match(value, place)
        if item is None:
            return None
        numbers = {name: int(number) for name, number in _PARAMETER.findall(item[2])}
        if "r" in numbers:
            found.append(Told(numbers["r"], numbers.get("t", 0)))
        place = item.end()
        if place < len(value) and value[place] != ",":
            return None
        place += 1
    return min(found, key=lambda one: (one.left, -one.seconds), default=None)
