"""Path patterns as Envoy's path matches, and as keys of the tree that finds them.

Envoy normalises a request's path before it looks: dot segments and double slashes are gone, `%7E`
is `~`, `"` is `%22`, but `%c3` and `%C3` stay as they came. Patterns are brought to the same form,
and a pattern with an escape left in it matches either case of its digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envoy.config.route.v3 import route_components_pb2 as routes_pb2

from moreton.envoy.wire import delimited, serialize
from moreton.gateway.core.spelling import ESCAPE, canonical
from moreton.kernel.patterns import PathKind, PathPattern

_MATCH = routes_pb2.RouteMatch


@dataclass(frozen=True, slots=True)
class PathPlan:
    """How one pattern is found and matched.

    *key* is its key in the tree: every path that the pattern takes begins with it. *body* is the
    serialised part of `RouteMatch` that compares the path. *segments* are those of a template,
    `None` for a variable (a path that ends in `/` has an empty last one); *open_end* when more
    may follow them.
    """

    kind: PathKind
    key: str
    body: bytes
    segments: tuple[str | None, ...] = ()
    open_end: bool = False
    is_literal: bool = True

    def may_take(self, start: str) -> bool:
        """Whether some path that begins with *start*, itself beginning with `key`, is taken."""
        key = self.key
        if start == key or not self.is_literal:
            return True
        match self.kind:
            case PathKind.EXACT:
                return False
            case PathKind.PREFIX:
                return key == "/" or start[len(key)] == "/"
            case PathKind.TEMPLATE:
                return self._template_may_take(start)

    def takes_all(self, start: str) -> bool:
        """Whether every path that begins with *start* is taken; not all such cases are known."""
        if self.kind is not PathKind.PREFIX or not self.is_literal:
            return False
        return self.key == "/" or start.startswith(f"{self.key}/")

    def _template_may_take(self, start: str) -> bool:
        *whole, last = start.split("/")[1:]
        if len(whole) >= len(self.segments) and not self.open_end:
            return False
        for wanted, given in zip(self.segments, whole, strict=False):
            if wanted is not None and wanted != given:
                return False
        if len(whole) < len(self.segments):
            wanted = self.segments[len(whole)]
            return wanted is None or wanted.startswith(last)
        return True


def plan(pattern: PathPattern) -> PathPlan:
    """*pattern* as Envoy shall match it."""
    match pattern.kind:
        case PathKind.EXACT:
            text = canonical(pattern.text)
            if "%" in text:
                return _escaped(PathKind.EXACT, text, "")
            return PathPlan(PathKind.EXACT, text, delimited(_MATCH.PATH_FIELD_NUMBER, _b(text)))
        case PathKind.PREFIX:
            return _prefix(canonical(pattern.prefix))
        case PathKind.TEMPLATE:
            return _template(pattern)


def path_regex(pattern: PathPattern) -> str:
    """A regex for the `:path` of a request that *pattern* takes, its query included."""
    match pattern.kind:
        case PathKind.EXACT:
            return regex_of(canonical(pattern.text)) + r"(?:\?.*)?"
        case PathKind.PREFIX:
            return regex_of(canonical(pattern.prefix)) + "(?:[/?].*)?"
        case PathKind.TEMPLATE:
            return _template_regex(pattern, "[^/?]+", "/[^?]*") + r"(?:\?.*)?"


def _prefix(text: str) -> PathPlan:
    if not text:
        return PathPlan(PathKind.PREFIX, "/", delimited(_MATCH.PREFIX_FIELD_NUMBER, b"/"))
    if "%" in text:
        return _escaped(PathKind.PREFIX, text, "(?:/.*)?")
    body = delimited(_MATCH.PATH_SEPARATED_PREFIX_FIELD_NUMBER, _b(text))
    return PathPlan(PathKind.PREFIX, text, body)


def _template(pattern: PathPattern) -> PathPlan:
    # Not Envoy's URI templates: they allow five variables, names of up to 16 letters, and in a
    # variable's place only some characters, so that a path with `[1]` would find another route.
    segments, open_end = _segments(pattern)
    key = canonical(pattern.prefix).partition("%")[0]
    return PathPlan(
        PathKind.TEMPLATE,
        key,
        _regex_body(_template_regex(pattern, "[^/]+", "/.*")),
        tuple(segments),
        open_end,
        is_literal=not any(part is not None and "%" in part for part in segments),
    )


def _segments(pattern: PathPattern) -> tuple[list[str | None], bool]:
    """The segments of a template, `None` for a variable, and whether more may follow."""
    segments = [
        None if part.startswith("{") else canonical(part) for part in pattern.text.split("/")[1:]
    ]
    open_end = segments[-1] == "*"
    return segments[:-1] if open_end else segments, open_end


def _template_regex(pattern: PathPattern, variable: str, rest: str) -> str:
    segments, open_end = _segments(pattern)
    regex = "".join(f"/{variable if part is None else regex_of(part)}" for part in segments)
    return regex + (rest if open_end else "")


def _escaped(kind: PathKind, text: str, tail: str) -> PathPlan:
    return PathPlan(
        kind, text.partition("%")[0], _regex_body(regex_of(text) + tail), is_literal=False
    )


def regex_of(text: str) -> str:
    """A regex for *text*, which is canonical: an escape's digits in either case."""
    out, end = [], 0
    for found in ESCAPE.finditer(text):
        out += [re.escape(text[end : found.start()]), f"(?i:{found[0]})"]
        end = found.end()
    return "".join([*out, re.escape(text[end:])])


def _regex_body(regex: str) -> bytes:
    match = _MATCH()
    match.safe_regex.regex = regex
    return serialize(match)


def _b(text: str) -> bytes:
    return text.encode()
