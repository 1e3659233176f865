"""The conditions of a route besides its path: methods, headers and the query."""

from __future__ import annotations

import re
from collections.abc import Iterable

from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.type.matcher.v3 import string_pb2

from moreton.envoy.wire import serialize
from moreton.gateway.core.model import RouteMatch
from moreton.gateway.core.spelling import UNRESERVED, as_sent
from moreton.kernel.patterns import ValueMatch, ValueMatchKind


def conditions(match: RouteMatch) -> bytes:
    """The part of `RouteMatch` that compares methods, headers and the query."""
    if not match.methods and not match.headers and not match.query:
        return b""
    out = routes_pb2.RouteMatch()
    if match.methods:
        one_of(out.headers.add(name=":method").string_match, match.methods)
    for condition in match.headers:
        out.headers.append(header_condition(condition))
    _query(out, match.query)
    return serialize(out)


def preflight_conditions(match: RouteMatch) -> bytes:
    """As `conditions`, of the question a browser asks before it sends what *match* takes.

    The question is an OPTIONS request without the headers of the request to come.
    """
    out = routes_pb2.RouteMatch()
    out.headers.add(name=":method").string_match.exact = "OPTIONS"
    out.headers.add(name="origin").present_match = True
    asked = out.headers.add(name="access-control-request-method")
    if match.methods:
        one_of(asked.string_match, match.methods)
    else:
        asked.present_match = True
    _query(out, match.query)
    return serialize(out)


def one_of(match: string_pb2.StringMatcher, words: Iterable[str]) -> None:
    """Make *match* take each of *words*, and nothing else."""
    ordered = sorted(words)
    if len(ordered) == 1:
        match.exact = ordered[0]
    else:
        match.safe_regex.regex = "|".join(re.escape(word) for word in ordered)


def header_condition(condition: ValueMatch) -> routes_pb2.HeaderMatcher:
    """*condition* on a header."""
    header = routes_pb2.HeaderMatcher(name=condition.name.lower())
    match condition.kind:
        case ValueMatchKind.PRESENT:
            header.present_match = True
        case ValueMatchKind.ABSENT:
            header.present_match = True
            header.invert_match = True
        case ValueMatchKind.EXACT:
            header.string_match.exact = condition.value
        case ValueMatchKind.PREFIX:
            header.string_match.prefix = condition.value
        case ValueMatchKind.REGEX:
            header.string_match.safe_regex.regex = condition.value
    return header


def _query(out: routes_pb2.RouteMatch, wanted: Iterable[ValueMatch]) -> None:
    for condition in wanted:
        parameter = out.query_parameters.add(name=condition.name)
        match condition.kind:
            case ValueMatchKind.PRESENT | ValueMatchKind.ABSENT:
                parameter.present_match = condition.kind is ValueMatchKind.PRESENT
            case ValueMatchKind.REGEX:
                parameter.string_match.safe_regex.regex = condition.value
            case ValueMatchKind.EXACT | ValueMatchKind.PREFIX:
                _encoded(parameter.string_match, condition)


def _encoded(match: string_pb2.StringMatcher, condition: ValueMatch) -> None:
    """Envoy compares a parameter as it was sent; what may be escaped is compared both ways."""
    is_exact = condition.kind is ValueMatchKind.EXACT
    if UNRESERVED.fullmatch(condition.value):
        if is_exact:
            match.exact = condition.value
        else:
            match.prefix = condition.value
        return
    regex = as_sent(condition.value)
    match.safe_regex.regex = regex if is_exact else regex + ".*"
