"""Consul's checks as Moreton's, and what of them Consul's clients are shown."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from moreton.registry.consul.core.definitions import CheckDefinition
from moreton.registry.consul.core.durations import SECOND, format_duration, to_timedelta
from moreton.registry.consul.core.refusals import bad
from moreton.registry.core.checks import (
    Check,
    CommandProbe,
    GrpcProbe,
    HttpProbe,
    Probe,
    Target,
    TcpProbe,
    TtlProbe,
)
from moreton.registry.core.standing import CheckStatus

# Consul's defaults: of the time a check may take, and of how it looks over HTTP.
_TIMEOUT_DEFAULT = 10 * SECOND
_MICROSECOND = timedelta(microseconds=1)


def to_check(definition: CheckDefinition) -> Check:
    """The check that *definition* asks for.

    Raises `ConsulRequestRefused` and `InstanceNotValid`.
    """
    probe = _probe(definition)
    interval = definition.interval or SECOND
    timeout = definition.timeout or min(_TIMEOUT_DEFAULT, interval)
    after = definition.deregister_after
    return Check(
        id=definition.id,
        probe=probe,
        interval=to_timedelta(interval),
        timeout=to_timedelta(timeout),
        failures=definition.failures + 1,
        successes=definition.successes + 1,
        initial=CheckStatus(definition.status or "critical"),
        deregister_after=to_timedelta(after) if after > 0 else None,
    )


def _probe(definition: CheckDefinition) -> Probe:
    match definition.type:
        case "ttl":
            return TtlProbe(to_timedelta(definition.ttl))
        case "tcp":
            return TcpProbe(_target(definition.target))
        case "grpc":
            if definition.tls and definition.tls_skip_verify:
                raise bad("TLSSkipVerify is not offered for gRPC: give the server a certificate")
            place, _, service = definition.target.partition("/")
            return GrpcProbe(service, tls=definition.tls, target=_target(place))
        case "http":
            return _http(definition)
        case _:
            return CommandProbe(definition.arguments)


def _http(definition: CheckDefinition) -> HttpProbe:
    try:
        url = urlsplit(definition.target)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise bad(f"HTTP {definition.target[:80]!r} is not a URL: {error}") from error
    if url.scheme not in {"http", "https"} or not host:
        raise bad(f"HTTP {definition.target[:80]!r} is not a URL like http://127.0.0.1:8080/health")
    path = url.path or "/"
    return HttpProbe(
        path=f"{path}?{url.query}" if url.query else path,
        method=definition.method.upper() or "GET",
        headers={name: ", ".join(each) for name, each in (definition.headers or {}).items()},
        body=definition.body,
        tls=url.scheme == "https",
        verify=not definition.tls_skip_verify,
        target=Target(host, port or (443 if url.scheme == "https" else 80)),
    )


def _target(text: str) -> Target:
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not (port.isascii() and port.isdigit()):
        raise bad(f"{text[:80]!r} is not a place to check; write HOST:PORT")
    return Target(host, int(port))


def type_of(check: Check) -> str:
    """The word that Consul has for it."""
    match check.probe:
        case TtlProbe():
            return "ttl"
        case HttpProbe():
            return "http"
        case TcpProbe():
            return "tcp"
        case GrpcProbe():
            return "grpc"
        case CommandProbe():
            return "script"


def times_of(check: Check) -> tuple[str, str]:
    """Interval and timeout as Go prints them; empty where there is none."""
    if not check.is_active:
        return "", ""
    return _printed(check.interval), _printed(check.timeout)


def _printed(length: timedelta) -> str:
    return format_duration(length // _MICROSECOND * 1000)
