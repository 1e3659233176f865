"""A check as JSON.

{"id": "http", "http": {"path": "/health"}, "interval": "1s", "timeout": "500ms", "failures": 2}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from moreton.kernel.quantities import format_duration, parse_duration
from moreton.registry.core.checks.values import (
    FAILURES_DEFAULT,
    INTERVAL_DEFAULT,
    SUCCESSES_DEFAULT,
    TIMEOUT_DEFAULT,
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


def check_document(check: Check) -> dict[str, Any]:
    """The check as JSON values, without what is as usual."""
    kind, body = _probe_document(check.probe)
    document: dict[str, Any] = {"id": check.id, kind: body}
    if check.is_active:
        document["interval"] = format_duration(check.interval)
        document["timeout"] = format_duration(check.timeout)
        document["failures"] = check.failures
        document["successes"] = check.successes
    if check.initial is not CheckStatus.CRITICAL:
        document["initial"] = check.initial.value
    if check.deregister_after is not None:
        document["deregister_after"] = format_duration(check.deregister_after)
    return document


def read_check(document: Mapping[str, Any]) -> Check:
    """What `check_document` wrote. Raises `ValueError`, `KeyError`, `TypeError` for the rest."""
    after = document.get("deregister_after")
    return Check(
        id=document["id"],
        probe=_read_probe(document),
        interval=parse_duration(document.get("interval", format_duration(INTERVAL_DEFAULT))),
        timeout=parse_duration(document.get("timeout", format_duration(TIMEOUT_DEFAULT))),
        failures=document.get("failures", FAILURES_DEFAULT),
        successes=document.get("successes", SUCCESSES_DEFAULT),
        initial=CheckStatus(document.get("initial", "critical")),
        deregister_after=None if after is None else parse_duration(after),
    )


def _probe_document(probe: Probe) -> tuple[str, Any]:
    match probe:
        case TtlProbe(ttl):
            return "ttl", format_duration(ttl)
        case HttpProbe():
            return "http", {
                "path": probe.path,
                "method": probe.method,
                "expect": [format_statuses(each) for each in probe.expect],
                "headers": dict(probe.headers),
                "body": probe.body,
                **_tls_document(probe),
                **_target_document(probe.target),
            }
        case TcpProbe(target):
            return "tcp", _target_document(target)
        case GrpcProbe():
            where = _target_document(probe.target)
            return "grpc", {"service": probe.service, **_tls_document(probe), **where}
        case CommandProbe(argv):
            return "command", list(argv)
        case _:
            assert_never(probe)


def _tls_document(probe: HttpProbe | GrpcProbe) -> dict[str, Any]:
    if not probe.tls:
        return {}
    return {"tls": True, "verify": probe.verify} if isinstance(probe, HttpProbe) else {"tls": True}


def _target_document(target: Target) -> dict[str, Any]:
    host = {"host": target.host} if target.host else {}
    return {**host, "port": target.port} if target.port else host


def _read_probe(document: Mapping[str, Any]) -> Probe:
    if "ttl" in document:
        return TtlProbe(parse_duration(document["ttl"]))
    if "command" in document:
        return CommandProbe(tuple(document["command"]))
    kind = next((each for each in ("http", "tcp", "grpc") if each in document), "")
    if not kind:
        raise ValueError("it says neither ttl, http, tcp, grpc nor command")
    body = document[kind]
    target = Target(body.get("host", ""), body.get("port", ""))
    tls, verify = body.get("tls", False), body.get("verify", True)
    if kind == "tcp":
        return TcpProbe(target)
    if kind == "grpc":
        return GrpcProbe(body.get("service", ""), tls=tls, target=target)
    return HttpProbe(
        path=body.get("path", "/"),
        method=body.get("method", "GET"),
        expect=tuple(parse_statuses(each) for each in body.get("expect", ["200-299"])),
        headers=dict(body.get("headers", {})),
        body=body.get("body", ""),
        tls=tls,
        verify=verify,
        target=target,
    )


def parse_statuses(text: str | int) -> tuple[int, int]:
    """`200` or `200-399` as a pair. Raises `ValueError`."""
    first, dash, last = str(text).partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise ValueError(f"{text!r} is not a status; write one like 200 or 200-399")
    return int(first), int(last if dash else first)


def format_statuses(span: tuple[int, int]) -> str:
    """The text that `parse_statuses` reads back."""
    first, last = span
    return str(first) if first == last else f"{first}-{last}"
