"""What goes along with a route: retries, header changes, CORS."""

from __future__ import annotations

import re
from functools import lru_cache

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from moreton.envoy.messages import any_of
from moreton.envoy.wire import serialize
from moreton.gateway.core.model import Cors, HeaderChanges, Retries

CORS_FILTER = "cors"
# Nothing of the request has reached the application in any of these: safe for every method.
DEFAULT_RETRIES = Retries(2, ("connect-failure", "refused-stream", "reset-before-request"))
# How often a host that failed already is drawn again before it is taken after all. A dead host has
# the fewest requests under way, so of two hosts it is what least-request draws three times in four:
# with 3 more draws one retry in three would go to it again, with 32 one in ten thousand.
_HOST_DRAWS_MAX = 32
_POLICIES_REMEMBERED = 256


@lru_cache(maxsize=_POLICIES_REMEMBERED)
def retry_policy(retries: Retries) -> bytes:
    """Envoy's retry policy; a retry avoids the hosts that already failed."""
    words = [word for word in retries.on if not word.isdigit()]
    codes = [int(word) for word in retries.on if word.isdigit()]
    if codes:
        words.append("retriable-status-codes")
    policy = routes_pb2.RetryPolicy(retry_on=",".join(words), retriable_status_codes=codes)
    policy.num_retries.value = retries.attempts
    if retries.per_try_timeout is not None:
        policy.per_try_timeout.FromTimedelta(retries.per_try_timeout)
    predicate = policy.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts")
    predicate.typed_config.CopyFrom(any_of(previous_hosts_pb2.PreviousHostsPredicate()))
    policy.host_selection_retry_max_attempts = _HOST_DRAWS_MAX
    policy.retry_back_off.base_interval.FromTimedelta(retries.backoff_base)
    policy.retry_back_off.max_interval.FromTimedelta(retries.backoff_max)
    if retries.retry_after_max is not None:
        asked = policy.rate_limited_retry_back_off
        asked.max_interval.FromTimedelta(retries.retry_after_max)
        asked.reset_headers.add(name="retry-after", format=routes_pb2.RetryPolicy.SECONDS)
    return serialize(policy)


def add_header_changes(
    out: routes_pb2.Route, request: HeaderChanges | None, response: HeaderChanges | None
) -> None:
    """The headers that *out* sets, adds and removes on the way in and on the way out."""
    if request is not None:
        out.request_headers_to_add.extend(_added(request))
        out.request_headers_to_remove.extend(sorted(request.remove))
    if response is not None:
        out.response_headers_to_add.extend(_added(response))
        out.response_headers_to_remove.extend(sorted(response.remove))


def _added(changes: HeaderChanges) -> list[base_pb2.HeaderValueOption]:
    option = base_pb2.HeaderValueOption
    pairs = (
        (changes.set, option.OVERWRITE_IF_EXISTS_OR_ADD),
        (changes.add, option.APPEND_IF_EXISTS_OR_ADD),
    )
    return [
        option(
            header=base_pb2.HeaderValue(
                key=name,
                value=value.replace("%", "%%"),  # a % alone begins one of Envoy's variables
            ),
            append_action=action,
            keep_empty_value=not value,
        )
        for headers, action in pairs
        for name, value in sorted(headers.items())
    ]


def cors_policy(cors: Cors, methods: frozenset[str]) -> cors_pb2.CorsPolicy:
    """Which origins may call; without methods of its own it allows the route's *methods*."""
    policy = cors_pb2.CorsPolicy(
        allow_methods=",".join(cors.methods or sorted(methods)),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.expose),
    )
    for origin in cors.origins:
        match = policy.allow_origin_string_match.add()
        if "*" in origin and origin != "*":  # Envoy takes "*" alone to mean any
            match.safe_regex.regex = "[A-Za-z0-9.-]+".join(map(re.escape, origin.split("*")))
        else:
            match.exact = origin
    policy.allow_credentials.value = cors.credentials
    if cors.max_age is not None:
        policy.max_age = str(int(cors.max_age.total_seconds()))
    return policy
