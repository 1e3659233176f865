"""Whether a request is one of a match: in words, and fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import tzinfo

from moreton.kernel.patterns import host_matches, in_words, path_matches, value_matches
from moreton.ratelimit.core.rules.seen import Seen
from moreton.ratelimit.core.rules.values import DAY_MINUTES, Hours, Match

Test = Callable[[Seen], bool]
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def tests_of(match: Match, zone: tzinfo) -> list[tuple[str, Test]]:
    """The conditions of *match* that are there, each with its name; the cheapest first."""
    tests: dict[str, Test] = {
        "gateways": lambda seen: seen.caller.gateway in match.gateways,
        "services": lambda seen: seen.caller.service in match.services,
        "routes": lambda seen: seen.caller.route in match.routes,
        "methods": lambda seen: seen.caller.method in match.methods,
        "tiers": lambda seen: not match.tiers.isdisjoint(seen.line),
        "api_keys": lambda seen: seen.api_key in match.api_keys,
        "countries": lambda seen: seen.country in match.countries,
        "asns": lambda seen: seen.asn in match.asns,
        "paths": lambda seen: _any_path(match, seen),
        "hosts": lambda seen: _host(match, seen),
        "addresses": lambda seen: _address(match, seen),
        "headers": lambda seen: _headers(match, seen),
        "claims": lambda seen: _claims(match, seen),
        "hours": lambda seen: any(_within(hours, seen, zone) for hours in match.hours),
    }
    return [(kind, test) for kind, test in tests.items() if getattr(match, kind)]


def lost(match: Match, seen: Seen, zone: tzinfo) -> Iterator[str]:
    """The conditions of *match* that *seen* does not fulfil, in words."""
    values = {"headers": seen.caller.headers, "claims": seen.claims}
    for kind, test in tests_of(match, zone):
        if test(seen):
            continue
        if kind in values:
            for one in getattr(match, kind):
                value = values[kind].get(one.name)
                if not value_matches(one, value):
                    yield f"{kind[:-1]} {in_words(one, value)}"
        else:
            yield f"{_had(kind, seen, zone)} is not in {kind}"


def _had(kind: str, seen: Seen, zone: tzinfo) -> str:
    """What *seen* has of *kind*, as people say it."""
    caller = seen.caller
    local = seen.now.astimezone(zone)
    none = "(none)"
    return {
        "gateways": f"gateway {caller.gateway or none}",
        "services": f"service {caller.service or none}",
        "routes": f"route {caller.route or none}",
        "methods": f"method {caller.method}",
        "tiers": f"tier {' in '.join(seen.line) or none}",
        "api_keys": f"API key {seen.api_key or none}",
        "countries": f"country {seen.country}",
        "asns": f"AS{seen.asn}",
        "paths": f"path {caller.path}",
        "hosts": f"host {caller.host or none}",
        "addresses": f"address {seen.address or none}",
        "hours": f"{_DAY_NAMES[local.weekday()]} {local:%H:%M}",
    }[kind]


def _any_path(match: Match, seen: Seen) -> bool:
    return any(path_matches(pattern, seen.caller.path) for pattern in match.paths)


def _host(match: Match, seen: Seen) -> bool:
    return any(host_matches(pattern, seen.caller.host) for pattern in match.hosts)


def _address(match: Match, seen: Seen) -> bool:
    parsed = seen.parsed
    return parsed is not None and any(parsed in network for network in match.addresses)


def _headers(match: Match, seen: Seen) -> bool:
    headers = seen.caller.headers
    return all(value_matches(one, headers.get(one.name)) for one in match.headers)


def _claims(match: Match, seen: Seen) -> bool:
    return all(value_matches(one, seen.claims.get(one.name)) for one in match.claims)


def _within(hours: Hours, seen: Seen, zone: tzinfo) -> bool:
    local = seen.now.astimezone(zone)
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if hours.begin < hours.end:
        return hours.begin <= minute < hours.end and day in hours.days
    if minute >= hours.begin:
        return day in hours.days
    # After midnight it is still the evening before that counts.
    return minute < hours.end % DAY_MINUTES and (day - 1) % 7 in hours.days
