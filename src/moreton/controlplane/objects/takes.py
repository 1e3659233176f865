"""What a route takes, in one line."""

from __future__ import annotations

from moreton.gateway.core.model import RouteMatch
from moreton.kernel.patterns import ValueMatchKind

_SIGNS = {
    ValueMatchKind.EXACT: "{name}={value}",
    ValueMatchKind.PREFIX: "{name}={value}…",
    ValueMatchKind.REGEX: "{name}~{value}",
    ValueMatchKind.PRESENT: "{name}",
    ValueMatchKind.ABSENT: "!{name}",
}


def takes(match: RouteMatch) -> str:
    """What a route takes in one line: `GET shop.example/catalogue/* x-beta=1`."""
    words = ["|".join(sorted(match.methods))] if match.methods else []
    hosts = "|".join(sorted(match.hosts))
    words.append(f"{hosts}{match.path.text}")
    conditions = [*match.headers]
    words += [_SIGNS[each.kind].format(name=each.name, value=each.value) for each in conditions]
    query = [_SIGNS[each.kind].format(name=each.name, value=each.value) for each in match.query]
    if query:
        words.append("?" + "&".join(query))
    return " ".join(words)
