"""An instance as the bytes under its key, and as the JSON of the API: the same form."""

from __future__ import annotations

import json
from typing import Any

from moreton.registry.core.errors import InstanceNotValid
from moreton.registry.core.instance import Instance, InstanceId, InstanceState

PREFIX = b"/moreton/instances/"


def service_prefix(service: str) -> bytes:
    """What the keys of all instances of *service* begin with."""
    return PREFIX + service.encode() + b"/"


def instance_key(service: str, instance_id: str) -> bytes:
    """Where an instance lies in the store."""
    return service_prefix(service) + instance_id.encode()


def parse_key(key: bytes) -> tuple[str, InstanceId]:
    """Service and id of a key under `PREFIX`."""
    service, _, instance_id = key.removeprefix(PREFIX).decode().partition("/")
    return service, InstanceId(instance_id)


def to_document(instance: Instance) -> dict[str, Any]:
    """The instance as JSON values."""
    return {
        "id": instance.id,
        "service": instance.service,
        "address": instance.address,
        "port": instance.port,
        "zone": instance.zone,
        "weight": instance.weight,
        "version": instance.version,
        "tags": list(instance.tags),
        "metadata": dict(instance.metadata),
        "state": instance.state.value,
    }


def encode(instance: Instance) -> bytes:
    """The value in the store: equal instances have equal bytes."""
    return json.dumps(to_document(instance), sort_keys=True, separators=(",", ":")).encode()


def decode(value: bytes) -> Instance | None:
    """The instance that `encode` wrote; `None` for what no version of ours wrote.

    Fields that a later version added are ignored: one bad key must not hide the others.
    """
    try:
        found = json.loads(value)
        return Instance(
            id=InstanceId(found["id"]),
            service=found["service"],
            address=found["address"],
            port=found["port"],
            zone=found.get("zone", ""),
            weight=found.get("weight", 1),
            version=found.get("version", ""),
            tags=tuple(found.get("tags", ())),
            metadata=dict(found.get("metadata", {})),
            state=InstanceState(found.get("state", "serving")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, InstanceNotValid):
        return None
