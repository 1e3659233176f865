"""Which requests a rule counts, and by which key: descriptors, and the actions that make them.

A descriptor is a row of entries, each a key and a value. Every action adds an entry, or there is no
descriptor; an entry that a bucket is configured with has a value, or none to give every value a
bucket of its own. Values are bounded: what clients send becomes a key only up to `VALUE_CHARS_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC

from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2

from moreton.envoy.messages import extension
from moreton.gateway.compile.matches import header_condition, one_of
from moreton.gateway.compile.paths import path_regex
from moreton.kernel.patterns import ValueMatch, ValueMatchKind
from moreton.ratelimit.core.rules.values import (
    ALL_DAYS,
    DAY_MINUTES,
    Clients,
    Hours,
    LimitRule,
    Match,
    Missing,
    Part,
    Trait,
)

_ACTION = routes_pb2.RateLimit.Action
VALUE_CHARS_MAX = 128
# What may be a value: neither empty nor longer, and no bytes that differ without being seen.
_VALUE = f"[ -~]{{1,{VALUE_CHARS_MAX}}}"
# A port would make another key of the same host.
_HOST_VALUE = f"[!-9;-~]{{1,{VALUE_CHARS_MAX}}}"
YES = "yes"
_HOST = ":authority"
# Where a route says under which rules it is.
METADATA = "moreton.limits"
# The header in which the proxy notes of which rules' networks the client is.
NETWORKS_HEADER = "x-moreton-networks"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """*actions* make of a request the *entries*; an empty value stands for any."""

    actions: tuple[routes_pb2.RateLimit.Action, ...]
    entries: tuple[tuple[str, str], ...]

    def __add__(self, other: Descriptor) -> Descriptor:
        return Descriptor(self.actions + other.actions, self.entries + other.entries)


NOTHING = Descriptor((), ())


def descriptors(
    rule: LimitRule, clients: Clients, *, of_routes: bool, only_v4: bool = False
) -> list[Descriptor]:
    """Of what *rule* counts, each with the key it counts by; one request makes at most one.

    *of_routes*: only on routes that name the rule in their metadata. *only_v4*: no client has
    another kind of address. Empty entries: everything counts, all together.
    """
    base = _membership(rule.name) if of_routes else NOTHING
    rest = NOTHING
    if rule.unless is not None:
        excepted = list(headers_of(rule.unless, network_tag(rule.name, "except")))
        rest += _when(excepted, "unless", expected=False)
        if rule.unless.hours:
            rest += _in_hours(rule.unless.hours, rule, inside=False)
    if rule.match.hours:
        rest += _in_hours(rule.match.hours, rule, inside=True)
    conditions = list(headers_of(rule.match, network_tag(rule.name, "match")))
    # One action compares all: each costs every request a part of what the filter costs.
    return [
        base + _when([*conditions, *headers], "if", str(number)) + rest + key
        for number, (headers, key) in enumerate(_keys(rule, clients, _address(clients, only_v4)))
    ]


def network_tag(rule: str, condition: str) -> str:
    """What `NETWORKS_HEADER` says of a client in the networks of a rule's *condition*."""
    return f"{condition}:{rule}"


def _membership(rule: str) -> Descriptor:
    action = _ACTION()
    told = action.metadata
    told.descriptor_key = "rule"
    told.source = told.ROUTE_ENTRY
    told.metadata_key.key = METADATA
    told.metadata_key.path.add(key=rule)
    return Descriptor((action,), (("rule", YES),))


def _when(
    headers: list[routes_pb2.HeaderMatcher], key: str, value: str = YES, *, expected: bool = True
) -> Descriptor:
    """A descriptor only of requests whose *headers* are, all of them, or not, as *expected*."""
    if not headers:
        return NOTHING
    action = _ACTION()
    match = action.header_value_match
    match.descriptor_key = key
    match.descriptor_value = value
    match.expect_match.value = expected
    match.headers.extend(headers)
    return Descriptor((action,), ((key, value),))


def headers_of(match: Match, tag: str) -> Iterator[routes_pb2.HeaderMatcher]:
    """What of *match* headers show; *tag* is what tells of its networks."""
    if match.methods:
        header = routes_pb2.HeaderMatcher(name=":method")
        one_of(header.string_match, match.methods)
        yield header
    if match.hosts:
        yield _regex(_HOST, _any(map(_host_regex, sorted(match.hosts))) + r"(?::\d+)?")
    if match.paths:
        yield _regex(":path", _any(path_regex(one) for one in match.paths))
    for condition in match.headers:
        yield header_condition(condition)
    if match.addresses:
        yield _regex(NETWORKS_HEADER, rf"(?:.*,)?{re.escape(tag)}(?:,.*)?")


def _host_regex(pattern: str) -> str:
    star = pattern.startswith("*.")
    return "(?i:" + ("[^:]+" if star else "") + re.escape(pattern.removeprefix("*")) + ")"


def _any(regexes: Iterable[str]) -> str:
    return f"(?:{'|'.join(regexes)})"


def _regex(name: str, regex: str) -> routes_pb2.HeaderMatcher:
    return header_condition(ValueMatch(name, ValueMatchKind.REGEX, regex))


def _keys(
    rule: LimitRule, clients: Clients, address: Descriptor
) -> Iterator[tuple[list[routes_pb2.HeaderMatcher], Descriptor]]:
    """The key, and what takes its place where a part of it is missing; each with what it is of."""
    sent = [name for part in rule.by if (name := _header_of(part, clients))]
    yield _values(sent), _sum(_part(part, clients, address) for part in rule.by)
    for number, name in enumerate(sent):
        # One request makes one descriptor: of the first part that is missing.
        before = _values(sent[:number])
        (lacking,) = _values([name])
        lacking.invert_match = lacking.treat_missing_header_as_empty = True
        if rule.missing is Missing.SKIP:
            # Not to be got around by a value that nobody can count by.
            there = routes_pb2.HeaderMatcher(name=name, present_match=True)
            yield [*before, lacking, there], NOTHING
        else:
            yield [*before, lacking], address if rule.missing is Missing.ADDRESS else NOTHING


def _values(names: Iterable[str]) -> list[routes_pb2.HeaderMatcher]:
    return [_regex(name, _HOST_VALUE if name == _HOST else _VALUE) for name in names]


def _sum(parts: Iterable[Descriptor]) -> Descriptor:
    out = NOTHING
    for part in parts:
        out += part
    return out


def _header_of(part: Part, clients: Clients) -> str:
    """The header that a client sends the *part* in; empty when it does not."""
    match part.trait:
        case Trait.HEADER:
            return part.name
        case Trait.API_KEY:
            return clients.api_key_header
        case Trait.HOST:
            return _HOST
        case _:
            return ""


def _part(part: Part, clients: Clients, address: Descriptor) -> Descriptor:
    name = _header_of(part, clients) or (":method" if part.trait is Trait.METHOD else "")
    action = _ACTION()
    if name:
        action.request_headers.header_name = name
        action.request_headers.descriptor_key = str(part)
        return Descriptor((action,), ((str(part), ""),))
    match part.trait:
        case Trait.ADDRESS:
            return address
        case Trait.SERVICE:
            action.destination_cluster.SetInParent()
            return Descriptor((action,), (("destination_cluster", ""),))
        case Trait.ROUTE:
            return _computed(str(part), "xds.route_name", "")
        case Trait.PATH:
            text = f"request.url_path.size() <= {VALUE_CHARS_MAX} ? request.url_path : 'longer'"
            return _computed(str(part), text, "")
        case _:
            return NOTHING  # a gateway has filters of its own


def _address(clients: Clients, only_v4: bool) -> Descriptor:  # noqa: FBT001 - private
    """The client's address as the listener found it; an IPv6 client is its network."""
    action = _ACTION()
    if only_v4:
        action.remote_address.SetInParent()  # which Envoy has as text already
        return Descriptor((action,), (("remote_address", ""),))
    action.masked_remote_address.v4_prefix_mask_len.value = 32
    action.masked_remote_address.v6_prefix_mask_len.value = clients.v6_bits
    return Descriptor((action,), (("masked_remote_address", ""),))


def _computed(key: str, text: str, value: str) -> Descriptor:
    action = _ACTION()
    found = expr_pb2.Descriptor(descriptor_key=key, text=text)
    action.extension.CopyFrom(extension("envoy.rate_limit_descriptors.expr", found))
    return Descriptor((action,), ((key, value),))


def _in_hours(hours: Iterable[Hours], rule: LimitRule, *, inside: bool) -> Descriptor:
    """Only within the *hours* of the day, by the proxy's clock and the rule's zone."""
    zone = "UTC" if rule.zone is UTC else str(rule.zone)
    text = " || ".join(_hours_text(one, zone) for one in hours)
    key = "hours" if inside else "except-hours"
    return _computed(key, text, "true" if inside else "false")


def _hours_text(hours: Hours, zone: str) -> str:
    minute = f"(request.time.getHours('{zone}') * 60 + request.time.getMinutes('{zone}'))"
    # CEL's days begin with Sunday, those of `Hours` with Monday.
    days = [_days_text(hours.days, zone, shift=1), _days_text(hours.days, zone, shift=2)]
    if hours.begin < hours.end:
        return f"({minute} >= {hours.begin} && {minute} < {hours.end} && {days[0]})"
    evening = f"({minute} >= {hours.begin} && {days[0]})"
    morning = f"({minute} < {hours.end % DAY_MINUTES} && {days[1]})"
    return f"({evening} || {morning})"


def _days_text(days: frozenset[int], zone: str, *, shift: int) -> str:
    if days == ALL_DAYS:
        return "true"
    told = ", ".join(str((day + shift) % 7) for day in sorted(days))
    return f"(request.time.getDayOfWeek('{zone}') in [{told}])"
