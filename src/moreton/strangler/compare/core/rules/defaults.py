"""What differs between any two answers and says nothing about either."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.gateway.core.moves import OWN_COOKIE
from moreton.strangler.compare.core.rules.rulebook import Rule

_HOP = "belongs to the connection (RFC 9110, section 7.6.1)"
_OWN = "every answer has its own"
_SERVER = "says which program answered"
_FRAMING = "what was sent is compared, not how"
_BODY = "follows from the body, which is compared"

DEFAULT_RULES: Sequence[Rule] = tuple(
    Rule.parse(name if name.startswith(("cookie:", "/")) else f"header:{name}", treatment, because)
    for name, treatment, because in (
        ("date", "ignore", _OWN),
        ("age", "ignore", _OWN),
        ("x-request-id", "ignore", _OWN),
        ("x-correlation-id", "ignore", _OWN),
        ("traceparent", "ignore", _OWN),
        ("tracestate", "ignore", _OWN),
        ("server-timing", "ignore", _OWN),
        ("x-runtime", "ignore", _OWN),
        ("x-process-time", "ignore", _OWN),
        ("x-envoy-*", "ignore", "was set on the way"),
        ("via", "ignore", "was set on the way"),
        ("server", "ignore", _SERVER),
        ("x-powered-by", "ignore", _SERVER),
        ("x-moreton-effects", "ignore", "is for who compares, not for who asked"),
        ("connection", "ignore", _HOP),
        ("keep-alive", "ignore", _HOP),
        ("proxy-connection", "ignore", _HOP),
        ("transfer-encoding", "ignore", _FRAMING),
        ("trailer", "ignore", _FRAMING),
        ("content-length", "ignore", _BODY),
        ("content-md5", "ignore value", _BODY),
        ("digest", "ignore value", _BODY),
        ("content-digest", "ignore value", _BODY),
        ("etag", "ignore value", "a mark of one server's own making (RFC 9110, section 8.8.3)"),
        (f"cookie:{OWN_COOKIE.name}", "ignore", "the gateway sets it, not the service"),
        ("cookie:sessionid", "ignore value", "names a session of one visitor"),
        ("cookie:csrftoken", "matching [A-Za-z0-9]{32,64}", _OWN),
        ("//input[@name='csrfmiddlewaretoken']/@value", "matching [A-Za-z0-9]{32,64}", _OWN),
        ("//input[@name='csrf_token']/@value", "ignore value", _OWN),
        ("expires", "moment within 5s", "is reckoned from now"),
        ("cookie:*;expires", "moment within 5s", "is reckoned from now"),
    )
)
