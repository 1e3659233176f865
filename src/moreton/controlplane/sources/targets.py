"""Targets in the form that Prometheus reads with `file_sd`: groups of addresses with labels.

    [{"targets": ["10.0.0.7:8001", "10.0.0.8:8001"], "labels": {"zone": "a", "team": "books"}}]

Source: Prometheus, "Configuration", section `file_sd_config`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from moreton.gateway.config.words import read_address
from moreton.gateway.core.model import Address
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import InstanceKind, InstanceSource

TARGETS_MAX = 10_000
BYTES_MAX = 16 * 1024 * 1024
_META = "__"  # labels that Prometheus drops after relabelling


@dataclass(frozen=True, slots=True)
class Target:
    """An address, whose host may be a name, and what is said of it."""

    address: Address
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1


def read_targets(text: str) -> list[Target]:
    """The targets of *text*, JSON or YAML. Raises `ValueError` that says what is wrong where."""
    if len(text) > BYTES_MAX:
        raise ValueError(f"it has {len(text)} characters; at most {BYTES_MAX} are read")
    try:
        groups = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"it is neither JSON nor YAML: {_line(error)}") from error
    if groups is None:
        groups = []
    if not isinstance(groups, list):
        raise ValueError(  # noqa: TRY004 - what is read is data
            'it is not a list of groups; write it like [{"targets": ["10.0.0.7:80"]}]'
        )
    targets = [target for number, group in enumerate(groups) for target in _group(number, group)]
    if len(targets) > TARGETS_MAX:
        raise ValueError(f"it has {len(targets)} targets; at most {TARGETS_MAX} are followed")
    return targets


def _group(number: int, group: Any) -> Iterator[Target]:
    if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
        raise ValueError(f'group {number} has no list "targets"')  # noqa: TRY004 - as above
    labels = group.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(x, str) for x in labels.values()):
        raise ValueError(f"the labels of group {number} are not a mapping of names to text")
    kept = {str(k): v for k, v in labels.items() if not str(k).startswith(_META)}
    weight = kept.pop("weight", "1")
    if not weight.isdigit():
        raise ValueError(f"the weight {weight!r} of group {number} is not a whole number")
    for target in group["targets"]:
        try:
            address = read_address(target)
        except ValueError as error:
            raise ValueError(f"group {number}: {error}") from error
        yield Target(address, kept, int(weight))


def instances_of(
    service: str, source: InstanceSource, targets: list[Target]
) -> dict[InstanceId, Instance]:
    """The targets, whose hosts are IP addresses, as instances that stay until they are not told.

    Raises `InstanceNotValid`.
    """
    found: dict[InstanceId, Instance] = {}
    for target in targets:
        labels = dict(target.labels)
        place = target.address
        one = Instance(
            id=InstanceId(f"{source}-{place.host}-{place.port}"),
            service=service,
            address=place.host,
            port=place.port,
            zone=labels.pop("zone", ""),
            version=labels.pop("version", ""),
            weight=target.weight,
            metadata=labels,
            kind=InstanceKind.PERSISTENT,
            source=source,
        )
        found.setdefault(one.id, one)
    return found


def at(target: Target, host: str) -> Target:
    """The target with its name resolved to *host*."""
    return replace(target, address=Address(host, target.address.port))


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"{problem} in line {mark.line + 1}" if mark is not None else str(problem)
