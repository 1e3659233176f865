"""What requests are told apart by: patterns of paths and hosts, and conditions on values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

ANY_HOST = "*"


class PathKind(StrEnum):
    """How a path pattern matches, from the most to the least specific."""

    EXACT = "exact"  # /about
    TEMPLATE = "template"  # /users/{id}/orders, and /users/{id}/*
    PREFIX = "prefix"  # /static/*: /static, /static/ and everything below; never /statics


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path as written in `moreton.yaml`: `/x` exact, `/x/{id}` template, `/x/*` prefix.

    *text* is what was written. *prefix* is the literal part before the first `{` or the `/*`;
    for the prefix pattern `/*` it is the empty string.
    """

    kind: PathKind
    text: str
    prefix: str


class ValueMatchKind(StrEnum):
    """How the value of a header or a query parameter is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"
    PRESENT = "present"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A condition on one header or query parameter; *value* is unused by present and absent."""

    name: str
    kind: ValueMatchKind
    value: str = ""


def path_matches(pattern: PathPattern, path: str) -> bool:
    """Whether *path*, without its query, is one of *pattern*."""
    if pattern.kind is PathKind.EXACT:
        return path == pattern.text
    if pattern.kind is PathKind.PREFIX:
        return path == pattern.prefix or path.startswith(f"{pattern.prefix}/")
    wanted, given = pattern.text.split("/")[1:], path.split("/")[1:]
    if wanted[-1] == "*":
        wanted, given = wanted[:-1], given[: len(wanted) - 1]
        if len(path.split("/")) - 1 < len(wanted) + 1:
            return False
    if len(wanted) != len(given):
        return False
    return all(bool(b) if "{" in a else a == b for a, b in zip(wanted, given, strict=True))


def value_matches(condition: ValueMatch, value: str | None) -> bool:
    """Whether *value*, `None` for what is not there, is as *condition* says."""
    match condition.kind:
        case ValueMatchKind.ABSENT:
            return value is None
        case ValueMatchKind.PRESENT:
            return value is not None
        case ValueMatchKind.EXACT:
            return value == condition.value
        case ValueMatchKind.PREFIX:
            return value is not None and value.startswith(condition.value)
        case ValueMatchKind.REGEX:
            return value is not None and re.fullmatch(condition.value, value) is not None


def host_matches(pattern: str, host: str) -> bool:
    """Whether *host*, without a port and in lower case, is one of *pattern*."""
    if pattern == ANY_HOST:
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def in_words(condition: ValueMatch, value: str | None) -> str:
    """What *value* is, and what *condition* wants."""
    had = "is absent" if value is None else f"is {value!r}"
    wanted = {
        ValueMatchKind.ABSENT: "must be absent",
        ValueMatchKind.PRESENT: "must be present",
        ValueMatchKind.EXACT: f"must be {condition.value!r}",
        ValueMatchKind.PREFIX: f"must begin with {condition.value!r}",
        ValueMatchKind.REGEX: f"must match {condition.value!r}",
    }[condition.kind]
    return f"{condition.name} {had}, {wanted}"
