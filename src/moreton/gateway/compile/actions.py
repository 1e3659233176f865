"""A route's action and match as an Envoy `Route`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import any_pb2

from moreton.gateway.core.model import (
    Cors,
    HeaderChanges,
    PathKind,
    Redirect,
    Retries,
    Route,
    ValueMatch,
    ValueMatchKind,
)

WEIGHT_PREFIX = "weights"
# Envoy's default of 15 s covers the whole answer and would cut downloads and streams of an
# application that was never told of it; the idle timeout ends what hangs.
_NO_TIMEOUT = timedelta(0)
_MILLION = 1_000_000
_STATUS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def any_of(message: Any) -> any_pb2.Any:
    """*message* packed, deterministically."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def envoy_route(route: Route) -> routes_pb2.Route:
    """The Envoy route for *route*, its match included."""
    out = routes_pb2.Route(name=route.name)
    _match(out.match, route)
    if route.redirect is not None:
        _redirect(out.redirect, route.redirect)
    else:
        _forward(out.route, route)
    _header_changes(out, route)
    if route.cors is not None:
        out.typed_per_filter_config["cors"].CopyFrom(any_of(_cors(route.cors)))
    return out


def _match(match: routes_pb2.RouteMatch, route: Route) -> None:
    path = route.match.path
    if path.kind is PathKind.EXACT:
        match.path = path.text
    elif path.kind is PathKind.PREFIX:
        if path.prefix:
            match.path_separated_prefix = path.prefix
        else:
            match.prefix = "/"
    else:
        template = uri_template_match_pb2.UriTemplateMatchConfig(
            path_template=re.sub(r"/\*$", "/**", path.text)
        )
        match.path_match_policy.name = "template"
        match.path_match_policy.typed_config.CopyFrom(any_of(template))
    _methods(match, sorted(route.match.methods))
    for condition in route.match.headers:
        _header(match, condition)
    for condition in route.match.query:
        parameter = match.query_parameters.add(name=condition.name)
        if condition.kind in {ValueMatchKind.PRESENT, ValueMatchKind.ABSENT}:
            parameter.present_match = condition.kind is ValueMatchKind.PRESENT
        else:
            _string(parameter.string_match, condition)


def _methods(match: routes_pb2.RouteMatch, methods: list[str]) -> None:
    if not methods:
        return
    header = match.headers.add(name=":method")
    if len(methods) == 1:
        header.string_match.exact = methods[0]
    else:
        header.string_match.safe_regex.regex = "|".join(methods)


def _header(match: routes_pb2.RouteMatch, condition: ValueMatch) -> None:
    header = match.headers.add(name=condition.name.lower())
    if condition.kind in {ValueMatchKind.PRESENT, ValueMatchKind.ABSENT}:
        header.present_match = True
        header.invert_match = condition.kind is ValueMatchKind.ABSENT
    else:
        _string(header.string_match, condition)


def _string(match: string_pb2.StringMatcher, condition: ValueMatch) -> None:
    if condition.kind is ValueMatchKind.EXACT:
        match.exact = condition.value
    elif condition.kind is ValueMatchKind.PREFIX:
        match.prefix = condition.value
    else:
        match.safe_regex.CopyFrom(regex_pb2.RegexMatcher(regex=condition.value))


def _redirect(out: routes_pb2.RedirectAction, redirect: Redirect) -> None:
    code = _STATUS[redirect.status]
    out.response_code = routes_pb2.RedirectAction.RedirectResponseCode.Value(code)
    if redirect.scheme is not None:
        out.scheme_redirect = redirect.scheme
    if redirect.host is not None:
        out.host_redirect = redirect.host
    if redirect.port is not None:
        out.port_redirect = redirect.port
    if redirect.path is not None:
        out.path_redirect = redirect.path


def _forward(out: routes_pb2.RouteAction, route: Route) -> None:
    if len(route.to) == 1:
        out.cluster = route.to[0].service
    else:
        # The shares are published as runtime values; these are as of this compile.
        out.weighted_clusters.runtime_key_prefix = f"{WEIGHT_PREFIX}.{route.name}"
        for destination in route.to:
            cluster = out.weighted_clusters.clusters.add(name=destination.service)
            cluster.weight.value = destination.weight
    out.timeout.FromTimedelta(_NO_TIMEOUT if route.timeout is None else route.timeout)
    if route.idle_timeout is not None:
        out.idle_timeout.FromTimedelta(route.idle_timeout)
    if route.retries is not None:
        out.retry_policy.CopyFrom(retry_policy(route.retries))
    _rewrite(out, route)
    for mirror in route.mirrors:
        policy = out.request_mirror_policies.add(cluster=mirror.service)
        fraction = policy.runtime_fraction.default_value
        fraction.numerator = round(mirror.share * _MILLION)
        fraction.denominator = fraction.MILLION
    if not route.websocket:
        out.upgrade_configs.add(upgrade_type="websocket").enabled.value = False


def _rewrite(out: routes_pb2.RouteAction, route: Route) -> None:
    if route.rewrite_host is not None:
        out.host_rewrite_literal = route.rewrite_host
    if route.rewrite_path is None:
        return
    if route.match.path.kind is PathKind.PREFIX:
        prefix = re.escape(route.match.path.prefix)
        out.regex_rewrite.pattern.regex = f"^{prefix}(/|$)?"
        out.regex_rewrite.substitution = route.rewrite_path.rstrip("/") + r"\1"
    else:
        out.regex_rewrite.pattern.regex = "^.*$"
        out.regex_rewrite.substitution = route.rewrite_path


def retry_policy(retries: Retries) -> routes_pb2.RetryPolicy:
    """Envoy's retry policy; a retry avoids the hosts that already failed."""
    words = [word for word in retries.on if not word.isdigit()]
    codes = [int(word) for word in retries.on if word.isdigit()]
    if codes:
        words.append("retriable-status-codes")
    policy = routes_pb2.RetryPolicy(retry_on=",".join(words), retriable_status_codes=codes)
    policy.num_retries.value = retries.attempts
    if retries.per_try_timeout is not None:
        policy.per_try_timeout.FromTimedelta(retries.per_try_timeout)
    predicate = policy.retry_host_predicate.add(name="previous_hosts")
    predicate.typed_config.CopyFrom(any_of(previous_hosts_pb2.PreviousHostsPredicate()))
    policy.host_selection_retry_max_attempts = 3
    return policy


def _header_changes(out: routes_pb2.Route, route: Route) -> None:
    if route.request_headers is not None:
        out.request_headers_to_add.extend(_added(route.request_headers))
        out.request_headers_to_remove.extend(route.request_headers.remove)
    if route.response_headers is not None:
        out.response_headers_to_add.extend(_added(route.response_headers))
        out.response_headers_to_remove.extend(route.response_headers.remove)


def _added(changes: HeaderChanges) -> list[base_pb2.HeaderValueOption]:
    option = base_pb2.HeaderValueOption
    out = []
    pairs: tuple[tuple[Mapping[str, str], int], ...] = (
        (changes.set, option.OVERWRITE_IF_EXISTS_OR_ADD),
        (changes.add, option.APPEND_IF_EXISTS_OR_ADD),
    )
    for headers, action in pairs:
        for name, value in sorted(headers.items()):
            header = base_pb2.HeaderValue(key=name, value=value.replace("%", "%%"))
            out.append(option(header=header, append_action=action))
    return out


def _cors(cors: Cors) -> cors_pb2.CorsPolicy:
    policy = cors_pb2.CorsPolicy(
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.expose),
    )
    for origin in cors.origins:
        match = policy.allow_origin_string_match.add()
        if "*" in origin:
            match.safe_regex.regex = re.escape(origin).replace(r"\*", "[^/]*")
        else:
            match.exact = origin
    policy.allow_credentials.value = cors.credentials
    if cors.max_age is not None:
        policy.max_age = str(int(cors.max_age.total_seconds()))
    return policy


def extension(name: str, message: Any) -> extension_pb2.TypedExtensionConfig:
    """A named, typed extension configuration."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(message))
