"""Instances, nodes and checks as the JSON that Consul's clients read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from moreton.registry.consul.core.extras import CheckNames, Extras
from moreton.registry.consul.core.probes import times_of, type_of
from moreton.registry.core.checks import Check
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckStatus, InstanceState

Document: TypeAlias = dict[str, Any]

NODE_CHECK = "serfHealth"
MAINTENANCE = "_service_maintenance"
_PASSING, _CRITICAL = CheckStatus.PASSING.value, CheckStatus.CRITICAL.value


@dataclass(frozen=True, slots=True)
class NodeNames:
    """What the one node is called that all of Moreton's control planes are to Consul's clients."""

    name: str
    id: str
    address: str
    datacenter: str
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """An instance with all that is shown of it."""

    instance: Instance
    checks: tuple[Check, ...]
    extras: Extras
    create_index: int
    modify_index: int


def node_document(node: NodeNames) -> Document:
    """The node as `health` and `catalog` show it."""
    return {
        "ID": node.id,
        "Node": node.name,
        "Address": node.address,
        "Datacenter": node.datacenter,
        "TaggedAddresses": _node_addresses(node),
        "Meta": dict(node.meta),
        "CreateIndex": 1,
        "ModifyIndex": 1,
    }


def _node_addresses(node: NodeNames) -> Document:
    family = "ipv6" if ":" in node.address else "ipv4"
    names = ("lan", f"lan_{family}", "wan", f"wan_{family}")
    return dict.fromkeys(names, node.address)


def catalog_document(row: Row, node: NodeNames) -> Document:
    """An instance as `catalog/service` shows it."""
    instance = row.instance
    return {
        "ID": node.id,
        "Node": node.name,
        "Address": node.address,
        "Datacenter": node.datacenter,
        "TaggedAddresses": _node_addresses(node),
        "NodeMeta": dict(node.meta),
        "ServiceKind": "",
        "ServiceID": instance.id,
        "ServiceName": instance.service,
        "ServiceTags": list(instance.tags),
        "ServiceAddress": instance.address,
        "ServiceTaggedAddresses": _service_addresses(row),
        "ServiceWeights": _weights(row),
        "ServiceMeta": dict(instance.metadata),
        "ServicePort": instance.port,
        "ServiceSocketPath": "",
        "ServiceEnableTagOverride": row.extras.enable_tag_override,
        "ServiceProxy": {"Mode": "", "MeshGateway": {}, "Expose": {}},
        "ServiceConnect": {},
        "ServiceLocality": _locality(instance),
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }


def service_document(row: Row) -> Document:
    """An instance as `health/service` and `catalog/node` show it."""
    instance = row.instance
    return {
        "ID": instance.id,
        "Service": instance.service,
        "Tags": list(instance.tags),
        "Address": instance.address,
        "TaggedAddresses": _service_addresses(row),
        "Meta": dict(instance.metadata),
        "Port": instance.port,
        "Weights": _weights(row),
        "EnableTagOverride": row.extras.enable_tag_override,
        "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}},
        "Connect": {},
        "Locality": _locality(instance),
        "PeerName": "",
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }


def agent_document(row: Row, node: NodeNames) -> Document:
    """An instance as the agent's own endpoints show it."""
    instance = row.instance
    return {
        "ID": instance.id,
        "Service": instance.service,
        "Tags": list(instance.tags),
        "Meta": dict(instance.metadata),
        "Port": instance.port,
        "Address": instance.address,
        "TaggedAddresses": _service_addresses(row),
        "Weights": _weights(row),
        "EnableTagOverride": row.extras.enable_tag_override,
        "Datacenter": node.datacenter,
    }


def health_document(row: Row, node: NodeNames) -> Document:
    """An instance as `health/service` shows it."""
    return {
        "Node": node_document(node),
        "Service": service_document(row),
        "Checks": [node_check(node), *checks_of(row, node)],
    }


def _service_addresses(row: Row) -> Document:
    instance = row.instance
    family = "ipv6" if ":" in instance.address else "ipv4"
    own = {"Address": instance.address, "Port": instance.port}
    names = (f"lan_{family}", f"wan_{family}")
    return {**dict.fromkeys(names, own), **row.extras.tagged_addresses}


def _weights(row: Row) -> Document:
    return {"Passing": row.instance.weight, "Warning": row.extras.weight_warning}


def _locality(instance: Instance) -> Document | None:
    return {"Region": "", "Zone": instance.zone} if instance.zone else None


def node_check(node: NodeNames) -> Document:
    """That the node is alive, as Consul's gossip would say."""
    return _check(
        node,
        id=NODE_CHECK,
        names=CheckNames("Serf Health Status"),
        status=_PASSING,
        output="Agent alive and reachable",
    )


def checks_of(row: Row, node: NodeNames) -> list[Document]:
    """The checks of an instance: those it has, and those that say what Moreton knows beside."""
    return list(_checks(row, node))


def _checks(row: Row, node: NodeNames) -> Iterator[Document]:
    instance = row.instance
    results = {} if instance.health is None else {each.id: each for each in instance.health.checks}
    shows_why = False
    for check in row.checks:
        found = results.get(check.id)
        status = check.initial if found is None else found.status
        output = "" if found is None else found.output
        if status is CheckStatus.CRITICAL and instance.kept:
            # Requests go on being sent to it, and its checks must not say otherwise.
            status, output = CheckStatus.PASSING, instance.reason
        shows_why = shows_why or status is CheckStatus.CRITICAL
        names = row.extras.checks.get(check.id, CheckNames(check.id))
        yield _check(
            node, id=check.id, names=names, status=status.value, output=output, row=row, check=check
        )
    if instance.order is not None:
        shows_why = True
        reason = instance.order.reason or instance.reason
        names = CheckNames("Service Maintenance Mode", reason)
        own = f"{MAINTENANCE}:{instance.id}"
        yield _check(node, id=own, names=names, status=_CRITICAL, output="", row=row)
    is_out = instance.state is not InstanceState.SERVING
    if not row.checks or (is_out and not shows_why):
        # What registered by itself and renews a lease is alive; it says so itself when it is out.
        names = CheckNames(f"Service '{instance.service}' state")
        status_shown = _CRITICAL if is_out else _PASSING
        output = instance.reason or f"the instance is {instance.state.value}"
        own = f"service:{instance.id}"
        yield _check(
            node, id=own, names=names, status=status_shown, output=output, row=row, kind="ttl"
        )


def _check(
    node: NodeNames,
    *,
    id: str,  # noqa: A002 - the field's name
    names: CheckNames,
    status: str,
    output: str,
    row: Row | None = None,
    check: Check | None = None,
    kind: str = "",
) -> Document:
    interval, timeout = ("", "") if check is None else times_of(check)
    return {
        "Node": node.name,
        "CheckID": id,
        "Name": names.name,
        "Status": status,
        "Notes": names.notes,
        "Output": output,
        "ServiceID": "" if row is None else row.instance.id,
        "ServiceName": "" if row is None else row.instance.service,
        "ServiceTags": [] if row is None else list(row.instance.tags),
        "Type": kind if check is None else type_of(check),
        "Interval": interval,
        "Timeout": timeout,
        "ExposedPort": 0,
        "Definition": {},
        "CreateIndex": 1 if row is None else row.create_index,
        "ModifyIndex": 1 if row is None else row.modify_index,
    }


def is_passing(checks: Sequence[Document]) -> bool:
    """Whether all of *checks* pass."""
    return all(each["Status"] == _PASSING for each in checks)


def worst(checks: Sequence[Document]) -> str:
    """The status of all of *checks* together; maintenance comes first."""
    if any(each["CheckID"].startswith(MAINTENANCE) for each in checks):
        return "maintenance"
    statuses = {each["Status"] for each in checks}
    return next((each for each in ("critical", "warning") if each in statuses), "passing")


def has_tags(row: Row, tags: Sequence[str]) -> bool:
    """Whether the instance has every one of *tags*; case does not count, as with Consul."""
    own = {tag.lower() for tag in row.instance.tags}
    return all(tag.lower() in own for tag in tags)


def has_meta(node: NodeNames, pairs: Sequence[str]) -> bool:
    """Whether the node has every one of *pairs*, written `key:value`."""
    split = (pair.partition(":") for pair in pairs)
    return all(node.meta.get(key) == value for key, _, value in split)
