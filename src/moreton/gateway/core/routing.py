"""Which route wins, and which two cannot both be meant. The order in the file plays no part.

For one request, of the routes that match it, the one with the least `rank` wins:

1. host: exact, then the longest `*.` suffix, then any host;
2. path: exact, then template, then prefix;
3. more of the path written out: literal segments of a template, the length of a prefix;
4. more conditions: methods count as one, each header and each query parameter as one.

Two routes of equal rank that one request could match are a clash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from moreton.gateway.core.model import Route, RouteMatch
from moreton.kernel.patterns import (
    ANY_HOST,
    PathKind,
    PathPattern,
    ValueMatch,
    ValueMatchKind,
)

_KIND_RANK = {PathKind.EXACT: 0, PathKind.TEMPLATE: 1, PathKind.PREFIX: 2}


class Rank(NamedTuple):
    """Less is better; comparable between the routes that match one request."""

    host: tuple[int, int]
    kind: int
    open_end: bool
    literals: int
    conditions: int


def rank(match: RouteMatch, host: str) -> Rank:
    """The rank of *match* where it was reached by its host pattern *host*."""
    return Rank(
        host_rank(host),
        _KIND_RANK[match.path.kind],
        match.path.kind is PathKind.TEMPLATE and match.path.text.endswith("/*"),
        -literals(match.path),
        -(bool(match.methods) + len(match.headers) + len(match.query)),
    )


def host_rank(pattern: str) -> tuple[int, int]:
    """Exact hosts first, then longer suffixes, then any host."""
    if pattern == ANY_HOST:
        return (2, 0)
    return (1, -len(pattern)) if pattern.startswith("*.") else (0, 0)


def literals(path: PathPattern) -> int:
    """How much of *path* is written out: segments of a template, characters of others."""
    if path.kind is PathKind.TEMPLATE:
        return sum(1 for s in path.text.split("/")[1:] if s and s != "*" and "{" not in s)
    return len(path.prefix)


def host_patterns(match: RouteMatch) -> Sequence[str]:
    """The host patterns of *match*; `*` for any host."""
    return sorted(match.hosts) or [ANY_HOST]


class Clash(NamedTuple):
    """Two routes of equal rank that one request could match; names in order."""

    first: str
    second: str


def clashes(routes: Iterable[Route]) -> list[Clash]:
    """Every clash among *routes*, each pair once. Nearly linear in their number."""
    buckets: defaultdict[object, list[Route]] = defaultdict(list)
    for route in routes:
        for key in bucket_keys(route):
            buckets[key].append(route)
    found = {
        Clash(*sorted((one.name, other.name)))
        for bucket in buckets.values()
        for one, other in _pairs(bucket)
        if can_clash(one, other)
    }
    return sorted(found)


def bucket_keys(route: Route) -> Iterator[object]:
    """Routes that share none of these cannot clash."""
    path = route.match.path
    shape: object = path.text
    if path.kind is PathKind.PREFIX:
        shape = path.prefix
    elif path.kind is PathKind.TEMPLATE:
        shape = (path.text.count("/"), path.text.split("/")[1] if path.prefix != "/" else "")
    for host in host_patterns(route.match):
        yield (rank(route.match, host), host, shape)


def can_clash(one: Route, other: Route) -> bool:
    """Whether a request exists that both match, given that they share a bucket."""
    if one.gateways and other.gateways and not one.gateways & other.gateways:
        return False
    if not _paths_meet(one.match.path, other.match.path):
        return False
    methods = one.match.methods & other.match.methods
    if one.match.methods and other.match.methods and not methods:
        return False
    return not _disjoint(one.match.headers, other.match.headers) and not _disjoint(
        one.match.query, other.match.query
    )


def _pairs(bucket: Sequence[Route]) -> Iterator[tuple[Route, Route]]:
    for index, one in enumerate(bucket):
        for other in bucket[index + 1 :]:
            yield one, other


def _paths_meet(one: PathPattern, other: PathPattern) -> bool:
    if one.kind is not PathKind.TEMPLATE:
        return one.prefix == other.prefix
    pairs = zip(one.text.split("/"), other.text.split("/"), strict=False)
    return all(a == b or "{" in a or "{" in b or "*" in {a, b} for a, b in pairs)


def _disjoint(ones: Sequence[ValueMatch], others: Sequence[ValueMatch]) -> bool:
    """Whether no request can fulfil both; a regex is never taken to exclude anything."""
    by_name = {other.name: other for other in others}
    for one in ones:
        other = by_name.get(one.name)
        if other is None:
            continue
        kinds = {one.kind, other.kind}
        if ValueMatchKind.ABSENT in kinds and len(kinds) > 1:
            return True
        if kinds == {ValueMatchKind.EXACT} and one.value != other.value:
            return True
        if kinds <= {ValueMatchKind.EXACT, ValueMatchKind.PREFIX}:
            long, short = sorted((one.value, other.value), key=len, reverse=True)
            if not long.startswith(short):
                return True
            exact = one if one.kind is ValueMatchKind.EXACT else other
            if len(kinds) == 2 and len(exact.value) < len(long):
                return True
    return False
