"""Where a request goes, and which condition each other route lost by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from moreton.gateway.core.model import Route
from moreton.gateway.core.routing import Rank, host_patterns, rank
from moreton.gateway.core.spelling import normalized, query_matches, query_of, spelled
from moreton.kernel.patterns import host_matches, in_words, path_matches, value_matches

_NEAR_MISSES_MAX = 20


@dataclass(frozen=True, slots=True)
class Request:
    """What routes look at. *host* has no port; header names are in lower case.

    The query is as it was sent, with its escapes: so Envoy looks at it.
    """

    method: str
    path: str  # without the query
    host: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, url: str, headers: Mapping[str, str] | None = None) -> Request:
        """A request for *url*, which is absolute or begins with a slash.

        Raises `ValueError` when *url* is neither.
        """
        parts = urlsplit(url)
        if not parts.path.startswith("/") and not parts.netloc:
            raise ValueError(f"{url!r} is not a URL; write http://host/path or /path")
        given = {name.lower(): value.strip(" \t") for name, value in (headers or {}).items()}
        host = given.get("host", parts.netloc).rpartition("@")[2]
        bare = re.sub(r":\d*$", "", host).lower().rstrip(".")
        path = normalized(parts.path or "/")
        return cls(method.upper(), path, bare, query_of(parts.query), given)


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A route that came near, and why it did not win."""

    route: Route
    lost_by: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The winner, if any, and the near misses, the nearest first."""

    winner: Route | None
    near_misses: Sequence[NearMiss]


def explain(routes: Iterable[Route], request: Request, gateway: str | None = None) -> Explanation:
    """Who takes *request*, and why the others do not."""
    matching: list[tuple[Rank, str, Route]] = []
    misses: list[tuple[int, str, NearMiss]] = []
    for route in routes:
        if gateway is not None and route.gateways and gateway not in route.gateways:
            continue
        lost = lost_conditions(route, request)
        if lost:
            if len(lost) == 1 or not lost[0].startswith("path"):
                misses.append((len(lost), route.name, NearMiss(route, "; ".join(lost))))
            continue
        best = min(
            rank(route.match, pattern)
            for pattern in host_patterns(route.match)
            if host_matches(pattern, request.host)
        )
        matching.append((best, route.name, route))
    matching.sort(key=lambda item: item[:2])
    misses.sort(key=lambda item: item[:2])
    winner = matching[0] if matching else None
    near = [
        NearMiss(route, _outranked(winner, own))
        for own, _, route in matching[1:]
        if winner is not None
    ]
    near += [miss for _, _, miss in misses]
    return Explanation(winner[2] if winner else None, near[:_NEAR_MISSES_MAX])


def matches(route: Route, request: Request) -> bool:
    """Whether *route* could take *request*."""
    return not lost_conditions(route, request)


def lost_conditions(route: Route, request: Request) -> list[str]:
    """The conditions of *route* that *request* does not fulfil, in words; the path first."""
    match = route.match
    lost = []
    if not path_matches(spelled(match.path), request.path):
        lost.append(f"path {request.path} is not {match.path.text}")
    patterns = host_patterns(match)
    if not any(host_matches(pattern, request.host) for pattern in patterns):
        lost.append(f"host {request.host or '(none)'} is not {' or '.join(patterns)}")
    if match.methods and request.method not in match.methods:
        lost.append(f"method {request.method} is not {' or '.join(sorted(match.methods))}")
    for kind, conditions, values, holds in (
        ("header", match.headers, request.headers, value_matches),
        ("query parameter", match.query, request.query, query_matches),
    ):
        lost += [
            f"{kind} {in_words(condition, values.get(condition.name))}"
            for condition in conditions
            if not holds(condition, values.get(condition.name))
        ]
    return lost


def _outranked(winner: tuple[Rank, str, Route], own: Rank) -> str:
    best, name, _ = winner
    reasons = (
        (best.host != own.host, "its host is more specific"),
        (best.kind != own.kind, "exact paths go before templates, templates before prefixes"),
        (best.open_end != own.open_end, "its template has an end"),
        (best.literals != own.literals, "more of its path is written out"),
        (best.conditions != own.conditions, "it has more conditions"),
    )
    why = next((words for differs, words in reasons if differs), "it is earlier by name")
    return f"it matches too, but {name} ranks higher: {why}"
