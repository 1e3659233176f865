"""A route as Envoy's `Route`: spliced from its match and from an action that many may share."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from google.protobuf import wrappers_pb2

from moreton.envoy.messages import any_of
from moreton.envoy.wire import delimited, serialize
from moreton.gateway.compile.copies.routes import copied_extras, copied_match
from moreton.gateway.compile.matches import conditions, preflight_conditions
from moreton.gateway.compile.moving.counting import (
    COUNT_FILTER,
    bound_silence,
    count_route,
)
from moreton.gateway.compile.moving.users import hash_policies, is_known, is_of, set_cookie
from moreton.gateway.compile.paths import PathPlan
from moreton.gateway.compile.policies import (
    CORS_FILTER,
    add_header_changes,
    cors_policy,
    retry_policy,
)
from moreton.gateway.compile.weights import first_of, runtime_prefix
from moreton.gateway.core.model import Destination, Mirror, Redirect, Retries, Route
from moreton.gateway.core.spelling import canonical
from moreton.kernel.patterns import PathKind
from moreton.resilience.core.headers import GATEWAY_ATTEMPTS

_ROUTE = routes_pb2.Route
_ACTION = routes_pb2.RouteAction
# Envoy's default of 15 s covers the whole answer and would cut downloads and streams of an
# application that was never told of it; the idle timeout ends what hangs.
_DEFAULT_TIMEOUT = timedelta(0)
# In place of the listener's, which is as short as a request's head may take.
_DEFAULT_IDLE_TIMEOUT = timedelta(minutes=5)
_MILLION = 1_000_000
_ACTIONS_REMEMBERED = 1024
_CODE = routes_pb2.RedirectAction.RedirectResponseCode
_CODES = {
    301: _CODE.Value("MOVED_PERMANENTLY"),
    302: _CODE.Value("FOUND"),
    303: _CODE.Value("SEE_OTHER"),
    307: _CODE.Value("TEMPORARY_REDIRECT"),
    308: _CODE.Value("PERMANENT_REDIRECT"),
}
_NOTHING = (None,) * 5
_ATTEMPTS = base_pb2.HeaderValueOption(
    header=base_pb2.HeaderValue(key=GATEWAY_ATTEMPTS, value="%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
)
_COOKIE = serialize(_ROUTE(response_headers_to_add=[set_cookie()]))


def envoy_routes(route: Route, path: PathPlan) -> list[bytes]:
    """The serialised `Route`s for *route*, the first to take a request first.

    The last has no conditions but the route's own.
    """
    own = conditions(route.match)
    return [_envoy_route(route, path, own + each) + more for each, more in _users(route)]


def first_routes(route: Route, path: PathPlan) -> list[bytes]:
    """The serialised `Route`s before all others of *route*: of users who go first."""
    move = route.move
    if move is None:
        return []
    own = conditions(route.match)
    to = tuple(Destination(each.service, int(each.service == move.to)) for each in route.to)
    first = replace(route, name=first_of(route.name), to=to, move=replace(move, sticky=None))
    return [_envoy_route(first, path, own + is_of(each), route.name) for each in move.cohorts]


def copied_routes(route: Route, path: PathPlan) -> list[bytes]:
    """The serialised `Route`s that stand before *route* and take what is copied of it.

    None when nothing may be.
    """
    if route.copies is None or route.redirect is not None:
        return []
    rest = conditions(route.match) + copied_match(route.name, route.copies)
    extras = copied_extras(route.copies)
    return [_envoy_route(route, path, rest + each) + more + extras for each, more in _users(route)]


def _users(route: Route) -> list[tuple[bytes, bytes]]:
    """The conditions of users who have what they are told apart by, and what the others get."""
    move = route.move
    if move is None or not move.gives_cookies:
        return [(b"", b"")]
    return [*((each, b"") for each in is_known(move)), (b"", _COOKIE)]


def preflight_route(route: Route, path: PathPlan) -> bytes | None:
    """The serialised `Route` that answers browsers' preflights for *route*.

    `None` when the route takes those itself, or has no CORS.
    """
    own = route.match
    takes_itself = not own.headers and (not own.methods or "OPTIONS" in own.methods)
    if route.cors is None or takes_itself:
        return None
    return _envoy_route(route, path, preflight_conditions(own))


def _envoy_route(route: Route, path: PathPlan, rest: bytes, name: str = "") -> bytes:
    if route.redirect is not None:
        number, action = _ROUTE.REDIRECT_FIELD_NUMBER, _redirect(route, route.redirect)
    else:
        number, action = _ROUTE.ROUTE_FIELD_NUMBER, _forward(route)
    return (
        delimited(_ROUTE.MATCH_FIELD_NUMBER, path.body + rest)
        + delimited(number, action)
        + _extras(route, name or route.name)
        + delimited(_ROUTE.NAME_FIELD_NUMBER, (name or route.name).encode())
    )


def _extras(route: Route, name: str) -> bytes:
    changes = route.request_headers, route.response_headers
    if (*changes, route.cors, route.retries, route.move) == _NOTHING:
        return b""
    out = _ROUTE()
    add_header_changes(out, route.request_headers, route.response_headers)
    if route.retries is not None:
        # So that a caller with retries of its own does not multiply them.
        out.response_headers_to_add.append(_ATTEMPTS)
    if route.cors is not None:
        policy = any_of(cors_policy(route.cors, route.match.methods))
        out.typed_per_filter_config[CORS_FILTER].CopyFrom(policy)
    if route.move is not None:
        out.typed_per_filter_config[COUNT_FILTER].CopyFrom(any_of(count_route(name)))
    return serialize(out)


def _forward(route: Route) -> bytes:
    policy = _policy(
        (route.timeout, route.idle_timeout),
        route.retries,
        route.rewrite_host,
        route.mirrors,
        route.websocket,
    )
    rewrite = b"" if route.rewrite_path is None else _rewrite(route, route.rewrite_path)
    sticky = b"" if route.move is None else hash_policies(route.move)
    return _destination(route) + policy + rewrite + sticky


def _destination(route: Route) -> bytes:
    if len(route.to) == 1:
        return delimited(_ACTION.CLUSTER_FIELD_NUMBER, route.to[0].service.encode())
    return delimited(_ACTION.WEIGHTED_CLUSTERS_FIELD_NUMBER, _weighted(route))


def _weighted(route: Route) -> bytes:
    # The shares are published as runtime values too, which win; these are for a cold start.
    out = routes_pb2.WeightedCluster(runtime_key_prefix=runtime_prefix(route.name))
    if route.move is not None and route.move.sticky is not None:
        out.use_hash_policy.value = True
    for destination in route.to:
        weight = wrappers_pb2.UInt32Value(value=destination.weight)
        added = out.clusters.add(name=destination.service, weight=weight)
        if (within := _silence_of(route, destination.service)) is not None:
            bound = any_of(bound_silence(within))
            added.typed_per_filter_config[COUNT_FILTER].CopyFrom(bound)
    return serialize(out)


def _silence_of(route: Route, service: str) -> timedelta | None:
    """How long *service* may be silent; what the route's retries say of a try holds as well."""
    move = route.move
    if move is None or move.answer_within is None or move.to != service:
        return None
    own = None if route.retries is None else route.retries.per_try_timeout
    return move.answer_within if own is None else min(own, move.answer_within)


@lru_cache(maxsize=_ACTIONS_REMEMBERED)
def _policy(
    times: tuple[timedelta | None, timedelta | None],
    retries: Retries | None,
    host: str | None,
    mirrors: tuple[Mirror, ...],
    websocket: bool,  # noqa: FBT001 - part of a cache's key
) -> bytes:
    """The part of an action that many routes have in common."""
    timeout, idle_timeout = times
    out = _ACTION()
    out.timeout.FromTimedelta(_DEFAULT_TIMEOUT if timeout is None else timeout)
    out.idle_timeout.FromTimedelta(_DEFAULT_IDLE_TIMEOUT if idle_timeout is None else idle_timeout)
    if retries is not None:
        out.retry_policy.ParseFromString(retry_policy(retries))
    if host is not None:
        out.host_rewrite_literal = host
        out.append_x_forwarded_host = True
    for mirror in mirrors:
        # Without this Envoy adds "-shadow" to the host, which applications refuse to know.
        copy = out.request_mirror_policies.add(
            cluster=mirror.service, disable_shadow_host_suffix_append=True
        )
        fraction = copy.runtime_fraction.default_value
        fraction.numerator = round(mirror.share * _MILLION)
        fraction.denominator = fraction.MILLION
    if not websocket:
        out.upgrade_configs.add(upgrade_type="websocket").enabled.value = False
    return serialize(out)


def _rewrite(route: Route, target: str) -> bytes:
    out = _ACTION()
    _set_rewrite(out, route, target)
    return serialize(out)


def _set_rewrite(
    out: routes_pb2.RouteAction | routes_pb2.RedirectAction, route: Route, target: str
) -> None:
    """Replace the matched prefix, or the whole path of an exact route or a template."""
    path = route.match.path
    if path.kind is PathKind.EXACT and "%" not in canonical(path.text):
        out.prefix_rewrite = target
    elif path.kind is not PathKind.PREFIX:
        _set_regex(out, "^.*$", target)
    elif not path.prefix:
        out.prefix_rewrite = target.rstrip("/") + "/"
    elif "%" not in canonical(path.prefix) and target.rstrip("/"):
        out.prefix_rewrite = target.rstrip("/")
    else:
        _set_regex_of_prefix(out, canonical(path.prefix), target.rstrip("/"))


def _set_regex_of_prefix(
    out: routes_pb2.RouteAction | routes_pb2.RedirectAction, prefix: str, target: str
) -> None:
    """A prefix that is replaced by nothing takes its slash along: `/a/x` becomes `/x`."""
    escapes = re.sub(r"%[0-9A-Fa-f]{2}", "%[0-9A-Fa-f]{2}", re.escape(prefix))
    _set_regex(out, f"^{escapes}" if target else f"^{escapes}/?", target or "/")


def _set_regex(
    out: routes_pb2.RouteAction | routes_pb2.RedirectAction, regex: str, target: str
) -> None:
    out.regex_rewrite.pattern.regex = regex
    out.regex_rewrite.substitution = target.replace("\\", "\\\\")


def _redirect(route: Route, redirect: Redirect) -> bytes:
    out = routes_pb2.RedirectAction(response_code=_CODES[redirect.status])
    if redirect.scheme is not None:
        out.scheme_redirect = redirect.scheme
    if redirect.host is not None:
        out.host_redirect = redirect.host
    if redirect.port is not None:
        out.port_redirect = redirect.port
    if redirect.path is not None:
        if route.match.path.kind is PathKind.PREFIX:
            _set_rewrite(out, route, redirect.path)
        else:
            out.path_redirect = redirect.path
    return serialize(out)
