"""What Consul's clients say of a service and Moreton has no word for: kept to be shown again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moreton.registry.consul.core.definitions import CheckDefinition, ServiceDefinition


@dataclass(frozen=True, slots=True)
class CheckNames:
    """What a check is called, and what is noted on it; *interval* and *timeout* as Go prints."""

    name: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Extras:
    """Beside an instance."""

    checks: Mapping[str, CheckNames] = field(default_factory=dict)
    weight_warning: int = 1
    enable_tag_override: bool = False
    tagged_addresses: Mapping[str, Any] = field(default_factory=dict)


def extras_of(definition: ServiceDefinition) -> Extras:
    """Of a service as it was asked for."""
    return Extras(
        {each.id: names_of(each) for each in definition.checks},
        definition.weight_warning,
        definition.enable_tag_override,
        definition.tagged_addresses,
    )


def names_of(check: CheckDefinition) -> CheckNames:
    """Of a check as it was asked for."""
    return CheckNames(check.name, check.notes)


def encode(extras: Extras) -> bytes:
    """The value in the store."""
    document = {
        "checks": {key: [each.name, each.notes] for key, each in extras.checks.items()},
        "weight_warning": extras.weight_warning,
        "enable_tag_override": extras.enable_tag_override,
        "tagged_addresses": extras.tagged_addresses,
    }
    return json.dumps(document, sort_keys=True).encode()


def decode(value: bytes | None) -> Extras:
    """What `encode` wrote; as good as nothing for anything else."""
    try:
        found = json.loads(value or b"")
        return Extras(
            {str(key): CheckNames(*map(str, each)) for key, each in found["checks"].items()},
            int(found["weight_warning"]),
            bool(found["enable_tag_override"]),
            dict(found["tagged_addresses"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Extras()
