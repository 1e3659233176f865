"""Random routes and requests over a small alphabet, so that they meet often."""

from __future__ import annotations

from random import Random

from moreton.config.words import read_path
from moreton.gateway.core.model import Destination, Route, RouteMatch
from moreton.gateway.core.routing import clashes
from moreton.kernel.patterns import ValueMatch, ValueMatchKind

SEGMENTS = ("a", "b", "ab", "A", "a.b", "x-1")
HOSTS = ("shop.example", "a.shop.example", "*.shop.example", "*.example", "other.test")
ASKED_HOSTS = (
    "shop.example",
    "SHOP.example",
    "a.shop.example:8080",
    "b.shop.example",
    "x.b.shop.example",
    "example",
    "c.example",
    "other.test",
    "nobody.test",
)
METHODS = ("GET", "HEAD", "POST", "DELETE")
VALUES = ("1", "2", "12", "")


def random_path(random: Random) -> str:
    """A pattern: exact, prefix or template."""
    segments = [random.choice(SEGMENTS) for _ in range(random.choice((0, 1, 1, 2, 2, 3)))]
    kind = random.choice(("exact", "exact", "prefix", "prefix", "template"))
    if kind == "template":
        segments.insert(random.randint(0, len(segments)), "{one}")
        if random.random() < 0.3:
            segments.append("{two}")
        if random.random() < 0.4:
            segments.append("*")
    elif kind == "prefix":
        segments.append("*")
    elif segments and random.random() < 0.2:
        segments.append("")
    return "/" + "/".join(segments)


def random_condition(random: Random, name: str) -> ValueMatch:
    """A condition on the value *name*."""
    kind = random.choice(list(ValueMatchKind))
    value = {
        ValueMatchKind.EXACT: random.choice(VALUES),
        ValueMatchKind.PREFIX: "1",
        ValueMatchKind.REGEX: random.choice(("1.*", "[12]")),
    }.get(kind, "")
    return ValueMatch(name, kind, value)


def random_match(random: Random) -> RouteMatch:
    """A match with few conditions."""
    hosts = random.sample(HOSTS, random.choice((0, 0, 0, 1, 1, 2)))
    methods = random.sample(METHODS, random.choice((0, 0, 0, 1, 2)))
    headers = random.sample(("x-a", "x-b"), random.choice((0, 0, 0, 1, 2)))
    query = random.sample(("p", "q"), random.choice((0, 0, 0, 1)))
    return RouteMatch(
        read_path(random_path(random)),
        frozenset(hosts),
        frozenset(methods),
        tuple(random_condition(random, name) for name in sorted(headers)),
        tuple(random_condition(random, name) for name in sorted(query)),
    )


def random_routes(random: Random, count: int, service: str) -> list[Route]:
    """At most *count* routes to *service*, no two of which clash."""
    routes = [
        Route(f"r{number}", random_match(random), to=(Destination(service),))
        for number in range(count)
    ]
    clashing = {clash.second for clash in clashes(routes)}
    while clashing:
        routes = [route for route in routes if route.name not in clashing]
        clashing = {clash.second for clash in clashes(routes)}
    return routes


def random_request(random: Random) -> tuple[str, str, dict[str, str]]:
    """A method, a path with its query, and headers."""
    path = "".join(
        random.choice(("/", "/", "/", "//")) + random.choice((*SEGMENTS, "zz", "..", "."))
        for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4)))
    )
    path += random.choice(("", "", "/", "//")) or ("" if path else "/")
    query = "&".join(
        random.choice((name, f"{name}={random.choice(VALUES)}"))
        for name in random.sample(("p", "q", "zz", "p"), random.choice((0, 0, 1, 2)))
    )
    headers = {"host": random.choice(ASKED_HOSTS)}
    for name in random.sample(("x-a", "x-b"), random.choice((0, 0, 1, 2))):
        headers[name] = random.choice(VALUES)
    method = random.choice((*METHODS, "PUT"))
    return method, path + (f"?{query}" if query or random.random() < 0.05 else ""), headers


def path_as_envoy_has_it(path: str) -> str:
    """*path* after Envoy resolved its dots and then merged its slashes.

    In this order: `/a//..` is `/a/`. A path of nothing but slashes ends as two of them.
    """
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    resolved = "/" + "/".join(kept)
    merged = "/".join(part for part in resolved.split("/") if part)
    return f"/{merged}{'/' if resolved.endswith('/') and resolved != '/' else ''}"
