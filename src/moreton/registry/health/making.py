"""Checks in one line, for programs that register themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from moreton.kernel.quantities import parse_duration
from moreton.registry.core.checks import Check, GrpcProbe, HttpProbe, Target, TcpProbe, TtlProbe
from moreton.registry.core.checks.documents import parse_statuses
from moreton.registry.core.checks.values import (
    FAILURES_DEFAULT,
    INTERVAL_DEFAULT,
    SUCCESSES_DEFAULT,
    usual_timeout,
)


def http_check(
    path: str = "/",
    *,
    expect: str = "200-299",
    headers: Mapping[str, str] | None = None,
    port: int | str = "",
    interval: timedelta | str = INTERVAL_DEFAULT,
    timeout: timedelta | str | None = None,
    failures: int = FAILURES_DEFAULT,
    successes: int = SUCCESSES_DEFAULT,
    id: str = "http",  # noqa: A002 - the check's word for it
) -> Check:
    """GET *path* has to be answered with a status in *expect*, `200`, `200-399` or `200,204`.

    *port* is another than the service's: a number, or the name of a further one. *timeout* is half
    the interval, and at most 2 s, when it is not given.
    Raises `InstanceNotValid`, `ValueError`.
    """
    probe = HttpProbe(
        path,
        expect=tuple(parse_statuses(each.strip()) for each in expect.split(",")),
        headers=dict(headers or {}),
        target=Target(port=port),
    )
    return Check(id, probe, *_spans(interval, timeout), failures, successes)


def tcp_check(
    *,
    port: int | str = "",
    interval: timedelta | str = INTERVAL_DEFAULT,
    timeout: timedelta | str | None = None,
    failures: int = FAILURES_DEFAULT,
    successes: int = SUCCESSES_DEFAULT,
    id: str = "tcp",  # noqa: A002 - as `http_check`
) -> Check:
    """A connection has to be accepted. Raises `InstanceNotValid`, `ValueError`."""
    probe = TcpProbe(Target(port=port))
    return Check(id, probe, *_spans(interval, timeout), failures, successes)


def grpc_check(
    service: str = "",
    *,
    port: int | str = "",
    interval: timedelta | str = INTERVAL_DEFAULT,
    timeout: timedelta | str | None = None,
    failures: int = FAILURES_DEFAULT,
    successes: int = SUCCESSES_DEFAULT,
    id: str = "grpc",  # noqa: A002 - as `http_check`
) -> Check:
    """The gRPC health protocol has to say SERVING of *service*, or of the server when empty.

    Raises `InstanceNotValid`, `ValueError`.
    """
    probe = GrpcProbe(service, target=Target(port=port))
    return Check(id, probe, *_spans(interval, timeout), failures, successes)


def ttl_check(
    ttl: timedelta | str,
    *,
    id: str = "ttl",  # noqa: A002 - as `http_check`
) -> Check:
    """Somebody has to report at least every *ttl*. Raises `InstanceNotValid`, `ValueError`."""
    return Check(id, TtlProbe(_span(ttl)))


def _spans(
    interval: timedelta | str, timeout: timedelta | str | None
) -> tuple[timedelta, timedelta]:
    span = _span(interval)
    return span, usual_timeout(span) if timeout is None else _span(timeout)


def _span(length: timedelta | str) -> timedelta:
    return parse_duration(length) if isinstance(length, str) else length
