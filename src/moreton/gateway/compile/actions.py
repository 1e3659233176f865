"""A route as Envoy's `Route`: spliced from its match and from an action that many may share."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from google.protobuf import wrappers_pb2

from moreton.envoy.messages import any_of
from moreton.envoy.wire import delimited, serialize
from moreton.gateway.compile.copies.routes import copied_extras, copied_match
from moreton.gateway.compile.matches import conditions, preflight_conditions
from moreton.gateway.compile.paths import PathPlan, canonical
from moreton.gateway.compile.policies import (
    CORS_FILTER,
    add_header_changes,
    cors_policy,
    retry_policy,
)
from moreton.gateway.compile.weights import runtime_prefix
from moreton.gateway.core.model import Destination, Mirror, Redirect, Retries, Route
from moreton.kernel.patterns import PathKind
from moreton.resilience.core.headers import GATEWAY_ATTEMPTS

_ROUTE = routes_pb2.Route
_ACTION = routes_pb2.RouteAction
# Envoy's default of 15 s covers the whole answer and would cut downloads and streams of an
# application that was never told of it; the listener's idle timeout ends what hangs.
_DEFAULT_TIMEOUT = timedelta(0)
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
_NOTHING = (None, None, None, None)
_ATTEMPTS = base_pb2.HeaderValueOption(
    header=base_pb2.HeaderValue(key=GATEWAY_ATTEMPTS, value="%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
)


def envoy_route(route: Route, path: PathPlan) -> bytes:
    """The serialised `Route` for *route*, its match included."""
    return _envoy_route(route, path, conditions(route.match))


def copied_route(route: Route, path: PathPlan) -> bytes | None:
    """The serialised `Route` that stands before *route* and takes what is copied of it.

    `None` when nothing may be.
    """
    if route.copies is None or route.redirect is not None:
        return None
    rest = conditions(route.match) + copied_match(route.name, route.copies)
    return _envoy_route(route, path, rest) + copied_extras(route.name, route.copies)


def preflight_route(route: Route, path: PathPlan) -> bytes | None:
    """The serialised `Route` that answers browsers' preflights for *route*.

    `None` when the route takes those itself, or has no CORS.
    """
    own = route.match
    takes_itself = not own.headers and (not own.methods or "OPTIONS" in own.methods)
    if route.cors is None or takes_itself:
        return None
    return _envoy_route(route, path, preflight_conditions(own))


def _envoy_route(route: Route, path: PathPlan, rest: bytes) -> bytes:
    if route.redirect is not None:
        number, action = _ROUTE.REDIRECT_FIELD_NUMBER, _redirect(route, route.redirect)
    else:
        number, action = _ROUTE.ROUTE_FIELD_NUMBER, _forward(route)
    return (
        delimited(_ROUTE.MATCH_FIELD_NUMBER, path.body + rest)
        + delimited(number, action)
        + _extras(route)
        + delimited(_ROUTE.NAME_FIELD_NUMBER, route.name.encode())
    )


def _extras(route: Route) -> bytes:
    if (route.request_headers, route.response_headers, route.cors, route.retries) == _NOTHING:
        return b""
    out = _ROUTE()
    add_header_changes(out, route.request_headers, route.response_headers)
    if route.retries is not None:
        # So that a caller with retries of its own does not multiply them.
        out.response_headers_to_add.append(_ATTEMPTS)
    if route.cors is not None:
        policy = any_of(cors_policy(route.cors, route.match.methods))
        out.typed_per_filter_config[CORS_FILTER].CopyFrom(policy)
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
    return _destination(route) + policy + rewrite


def _destination(route: Route) -> bytes:
    if len(route.to) == 1:
        return delimited(_ACTION.CLUSTER_FIELD_NUMBER, route.to[0].service.encode())
    return delimited(
        _ACTION.WEIGHTED_CLUSTERS_FIELD_NUMBER, _weighted(runtime_prefix(route.name), route.to)
    )


def _weighted(prefix: str, to: tuple[Destination, ...]) -> bytes:
    # The shares are published as runtime values too, which win; these are for a cold start.
    out = routes_pb2.WeightedCluster(runtime_key_prefix=prefix)
    for destination in to:
        weight = wrappers_pb2.UInt32Value(value=destination.weight)
        out.clusters.add(name=destination.service, weight=weight)
    return serialize(out)


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
    if idle_timeout is not None:
        out.idle_timeout.FromTimedelta(idle_timeout)
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
