"""What clients say of services and of checks, read from their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from moreton.registry.consul.core.fields import Fields
from moreton.registry.consul.core.refusals import bad

STATUSES = frozenset({"passing", "warning", "critical"})
TYPES = ("ttl", "http", "tcp", "grpc", "script")
_INVALID_CHECK = "Must provide TTL or Script/DockerContainerID/HTTP/TCP and Interval"
# Names of what a check can be in Consul and is not here, so that nobody thinks that it is checked.
_UNSUPPORTED = {
    "dockercontainerid": "Docker checks",
    "aliasservice": "alias checks",
    "aliasnode": "alias checks",
    "udp": "UDP checks",
    "h2ping": "HTTP/2 ping checks",
    "osservice": "OS service checks",
}


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """A check as a client asked for it; lengths of time are in nanoseconds, 0 for none."""

    type: str
    id: str = ""
    name: str = ""
    notes: str = ""
    status: str = ""
    service_id: str = ""
    target: str = ""  # of http a URL, of tcp and grpc host:port, of grpc maybe /service
    arguments: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    ttl: int = 0
    deregister_after: int = 0
    method: str = ""
    headers: Mapping[str, tuple[str, ...]] | None = None
    body: str = ""
    tls: bool = False
    tls_skip_verify: bool = False
    failures: int = 0  # so many more after the first before it is critical
    successes: int = 0


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """A service instance as a client asked for it."""

    name: str
    id: str
    address: str
    port: int
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    weight: int
    weight_warning: int
    enable_tag_override: bool
    tagged_addresses: Mapping[str, Any]
    zone: str
    checks: tuple[CheckDefinition, ...]


def read_service(body: object) -> ServiceDefinition:
    """The body of `agent/service/register`. Raises `ConsulRequestRefused`."""
    fields = Fields(body, "the service")
    name = fields.text("name", "service")
    if not name:
        raise bad("Missing service name")
    kind = fields.text("kind")
    if kind or fields.raw("proxy") or fields.raw("connect"):
        raise bad(
            f"service kind {kind!r} is a part of Consul's mesh, which this API does not offer: "
            "nothing was registered; leave out Kind, Proxy and Connect"
        )
    service_id = fields.text("id") or name
    weights = fields.child("weights")
    return ServiceDefinition(
        name=name,
        id=service_id,
        address=fields.text("address"),
        port=fields.number("port"),
        tags=fields.texts("tags"),
        metadata=dict(fields.pairs("meta")),
        weight=1 if weights is None else weights.number("passing", 1),
        weight_warning=1 if weights is None else weights.number("warning", 1),
        enable_tag_override=fields.flag("enabletagoverride"),
        tagged_addresses=_tagged_addresses(fields),
        zone=_zone(fields),
        checks=_checks_of(fields, service_id, name),
    )


def read_check(fields: Fields) -> CheckDefinition:
    """A definition of a check, alone or within a service. Raises `ConsulRequestRefused`."""
    for key, what in _UNSUPPORTED.items():
        if key in fields:
            raise bad(f"{what} are not supported, so nothing was registered; use TTL, HTTP or TCP")
    status = fields.text("status")
    if status and status not in STATUSES:
        raise bad(f"Status for checks must 'passing', 'warning', 'critical', not '{status[:40]}'")
    kind, target = _target(fields)
    interval, ttl = fields.duration("interval"), fields.duration("ttl")
    if kind == "ttl" and ttl <= 0:
        raise bad(_INVALID_CHECK)
    if kind != "ttl" and ttl > 0:
        raise bad("Interval and TTL cannot both be specified")
    if kind != "ttl" and interval <= 0:
        raise bad(f"{_INVALID_CHECK}: Interval must be > 0 for Script, HTTP, or TCP checks")
    return CheckDefinition(
        type=kind,
        id=fields.text("checkid", "id"),
        name=fields.text("name"),
        notes=fields.text("notes"),
        status=status,
        service_id=fields.text("serviceid"),
        target=target,
        arguments=fields.texts("args") or fields.texts("scriptargs"),
        interval=interval,
        timeout=fields.duration("timeout"),
        ttl=ttl,
        deregister_after=fields.duration("deregistercriticalserviceafter"),
        method=fields.text("method"),
        headers=fields.lists("header"),
        body=fields.text("body"),
        tls=fields.flag("grpcusetls") or fields.flag("tcpusetls"),
        tls_skip_verify=fields.flag("tlsskipverify"),
        failures=fields.number("failuresbeforecritical"),
        successes=fields.number("successbeforepassing"),
    )


def _target(fields: Fields) -> tuple[str, str]:
    """The type of a check, and what it is about."""
    for kind in ("http", "tcp", "grpc"):
        found = fields.text(kind)
        if found:
            return kind, found
    if fields.raw("script"):
        raise bad("Script is not supported any more, so nothing was registered; write Args")
    if fields.texts("args") or fields.texts("scriptargs"):
        return "script", ""
    return "ttl", ""


def _checks_of(fields: Fields, service_id: str, name: str) -> tuple[CheckDefinition, ...]:
    """`Check`, when it says anything, and `Checks`, each with an id and a name."""
    single = fields.child("check")
    listed = ([] if single is None or single.is_empty() else [single]) + list(
        fields.children("checks")
    )
    found = []
    for number, one in enumerate(listed, 1):
        check = read_check(one)
        own = f"service:{service_id}" if len(listed) == 1 else f"service:{service_id}:{number}"
        found.append(with_names(check, own, f"Service '{name}' check", service_id=service_id))
    return tuple(found)


def with_names(
    check: CheckDefinition, check_id: str, name: str, *, service_id: str
) -> CheckDefinition:
    """*check* of *service_id*, with *check_id* and *name* where it has none of its own."""
    return replace(check, id=check.id or check_id, name=check.name or name, service_id=service_id)


def _tagged_addresses(fields: Fields) -> Mapping[str, Any]:
    found = fields.raw("taggedaddresses")
    if found is None:
        return {}
    inner = Fields(found, "the service: taggedaddresses")
    addresses = {}
    for name in found:
        one = inner.child(name.replace("_", "").lower())
        if one is not None:
            addresses[name] = {"Address": one.text("address"), "Port": one.number("port")}
    return addresses


def _zone(fields: Fields) -> str:
    locality = fields.child("locality")
    return "" if locality is None else locality.text("zone")
