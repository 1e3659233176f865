"""Users as Envoy tells them apart: those who go first by a condition, the others by a hash.

A hash of what a user has falls into the range of one destination. Two ranges that share a sum only
move their border when the weights change, so that users change sides one way.

Who has nothing to tell by is drawn by a part of the request's id, which becomes the user's cookie
with the answer: the same hash decides from then on. Of the id only what stands before its version
is taken, as tracing writes into the rest.
"""

from __future__ import annotations

import re

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as routes_pb2

from moreton.envoy.wire import serialize
from moreton.gateway.core.moves import OWN_COOKIE, Cohort, Move, Trait, TraitKind

_POLICY = routes_pb2.RouteAction.HashPolicy
_REQUEST_ID = "x-request-id"
_ID_CHARS = 13  # xxxxxxxx-xxxx: 48 bits by chance
_COOKIE_SECONDS = 90 * 24 * 3600
_SET_COOKIE = (
    f"{OWN_COOKIE.name}=%REQ(X-REQUEST-ID):{_ID_CHARS}%; Path=/; Max-Age={_COOKIE_SECONDS}; "
    "HttpOnly; SameSite=Lax"
)


def hash_policies(move: Move) -> bytes:
    """The part of an action that says by what users stay on their side; empty when they do not."""
    out = routes_pb2.RouteAction()
    if move.sticky is not None:
        out.hash_policy.append(_policy(move.sticky))
    if move.gives_cookies:
        if move.sticky != OWN_COOKIE:
            out.hash_policy.append(_policy(OWN_COOKIE))
        drawn = out.hash_policy.add(terminal=True).header
        drawn.header_name = _REQUEST_ID
        drawn.regex_rewrite.pattern.regex = f"^(.{{{_ID_CHARS}}}).*$"
        drawn.regex_rewrite.substitution = r"\1"
    return serialize(out)


def set_cookie() -> base_pb2.HeaderValueOption:
    """The cookie of a user that has none yet."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key="set-cookie", value=_SET_COOKIE),
        append_action=base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,
    )


def is_known(move: Move) -> list[bytes]:
    """Conditions, each enough, of requests that need no cookie."""
    if not move.gives_cookies:
        return []
    traits = {OWN_COOKIE, move.sticky} - {None}
    return [_has(trait) for trait in sorted(traits, key=str) if trait is not None]


def is_of(cohort: Cohort) -> bytes:
    """The condition of the requests of *cohort*'s users."""
    words = "|".join(re.escape(each) for each in cohort.values)
    match cohort.trait.kind:
        case TraitKind.COOKIE:
            name = re.escape(cohort.trait.name)
            return _condition("cookie", rf"(?:.*[; ])?{name}=(?:{words})(?:;.*)?")
        case TraitKind.HOST:
            return _condition(":authority", rf"(?i:{words})(?::\d+)?")
        case _:
            return _condition(cohort.trait.name, words)


def _policy(trait: Trait) -> routes_pb2.RouteAction.HashPolicy:
    out = _POLICY(terminal=True)
    match trait.kind:
        case TraitKind.HEADER:
            out.header.header_name = trait.name
        case TraitKind.COOKIE:
            out.cookie.name = trait.name
        case TraitKind.HOST:
            out.header.header_name = ":authority"
        case TraitKind.ADDRESS:
            out.connection_properties.source_ip = True
    return out


def _has(trait: Trait) -> bytes:
    if trait.kind is TraitKind.COOKIE:
        return _condition("cookie", f"(?:.*[; ])?{re.escape(trait.name)}=.*")
    return _condition(":authority" if trait.kind is TraitKind.HOST else trait.name, ".+")


def _condition(header: str, regex: str) -> bytes:
    out = routes_pb2.RouteMatch()
    out.headers.add(name=header).string_match.safe_regex.regex = regex
    return serialize(out)
