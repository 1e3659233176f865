"""Rules in words, for people who look at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moreton.kernel.patterns import ValueMatch, ValueMatchKind
from moreton.ratelimit.core.rules.bounds import Bound, RateBound
from moreton.ratelimit.core.rules.values import ALL_DAYS, DAY_MINUTES, Hours, Match

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_KINDS = {
    "gateways": "gateway",
    "services": "service",
    "routes": "route",
    "hosts": "host",
    "tiers": "tier",
    "api_keys": "API key",
    "countries": "country",
}


def bounds_in_words(bounds: Sequence[Bound] | None) -> str:
    """`10/s (burst 20) and 1000/day`; a ban for none, unlimited for `None`."""
    if bounds is None:
        return "unlimited"
    return " and ".join(map(_bound, bounds)) or "0: a ban"


def match_in_words(match: Match) -> str:
    """`POST /login, tier free`; everything for no conditions."""
    parts = [" ".join(filter(None, [_either(match.methods), _either(p.text for p in match.paths)]))]
    parts += [
        f"{word} {_either(getattr(match, kind))}"
        for kind, word in _KINDS.items()
        if getattr(match, kind)
    ]
    parts += [_condition(one) for one in (*match.headers, *match.claims)]
    if match.addresses:
        parts.append(f"from {_either(str(one) for one in match.addresses)}")
    if match.asns:
        parts.append(_either(f"AS{one}" for one in match.asns))
    parts += [_hours(one) for one in match.hours]
    return ", ".join(filter(None, parts)) or "everything"


def _bound(bound: Bound) -> str:
    if not isinstance(bound, RateBound) or bound.burst == max(1, int(bound.rate.count)):
        return bound.name
    return f"{bound.name} (burst {bound.burst})"


def _either(values: Iterable[str]) -> str:
    return " or ".join(sorted(values))


def _condition(one: ValueMatch) -> str:
    match one.kind:
        case ValueMatchKind.PRESENT | ValueMatchKind.ABSENT:
            return f"{one.name} {one.kind}"
        case ValueMatchKind.EXACT:
            return f"{one.name}: {one.value}"
        case _:
            return f"{one.name} {one.kind} {one.value}"


def _hours(hours: Hours) -> str:
    days = "" if hours.days == ALL_DAYS else " ".join(_DAYS[day] for day in sorted(hours.days))
    whole = (hours.begin, hours.end) == (0, DAY_MINUTES)
    span = "" if whole else f"{_clock(hours.begin)}-{_clock(hours.end)}"
    return " ".join(filter(None, [days, span]))


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
