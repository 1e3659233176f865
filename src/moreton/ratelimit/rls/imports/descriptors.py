"""Descriptors of a file, read into the tree that requests are held against."""

from __future__ import annotations

from datetime import timedelta

import yaml

from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.windows import FixedWindow
from moreton.ratelimit.rls.core.tree import COUNT_MAX, SECONDS, Node, Threshold, Unit
from moreton.ratelimit.rls.core.wildcards import Wildcard
from moreton.ratelimit.rls.imports.nodes import Reader

_ROOT = ("domain", "descriptors")
_DESCRIPTOR = (
    "key", "value", "rate_limit", "descriptors", "shadow_mode", "quota_mode", "detailed_metric",
    "value_to_metric", "share_threshold", "metadata",
)  # fmt: skip
_RATE_LIMIT = ("unit", "requests_per_unit", "unlimited", "name", "replaces")
_LEVELS_MAX = 32


def read_domain(reader: Reader, root: yaml.Node) -> tuple[str, Node]:
    """The name and the descriptors of a file's domain."""
    fields = reader.mapping(root, _ROOT)
    if fields is None:
        return "", Node()
    domain = reader.text(fields, "domain")
    if not domain:
        reader.fault("the file has no domain", "begin it with `domain: NAME`", root)
    return domain, _level(reader, fields, "", None)


def _level(
    reader: Reader, fields: dict[str, yaml.Node], path: str, threshold: Threshold | None
) -> Node:
    """The descriptors of *fields* below *path*, as the children of a node."""
    children: dict[str, Node] = {}
    wildcards = []
    items = reader.items(fields, "descriptors")
    if items and path.count("\n") >= _LEVELS_MAX:
        reader.fault("descriptors nested too deep", f"use at most {_LEVELS_MAX} levels", items[0])
        items = []
    for item in items:
        found = reader.mapping(item, _DESCRIPTOR)
        if found is None:
            continue
        key, value = reader.text(found, "key"), reader.text(found, "value")
        if not key:
            reader.fault("a descriptor has no key", "give it one", item)
            continue
        name = f"{key}_{value}" if value else key
        if name in children:
            reader.fault(
                f"the descriptor {name!r} is there twice at this level", "keep one of them", item
            )
            continue
        children[name] = _descriptor(reader, item, found, f"{path}\n{name}")
        if "*" in name:
            wildcards.append((name, Wildcard.of(name)))
    return Node(children, tuple(wildcards), threshold)


def _descriptor(reader: Reader, item: yaml.Node, found: dict[str, yaml.Node], path: str) -> Node:
    name = path.rpartition("\n")[2]
    shared = reader.flag(found, "share_threshold")
    if shared and "*" not in name:
        reader.fault(
            f"share_threshold of {name!r}, which has no *",
            "write a value with *, or remove it",
            found["share_threshold"],
        )
    threshold = _threshold(reader, found, path)
    level = _level(reader, found, path, threshold)
    if threshold is None and not level.children:
        reader.note(f"the descriptor {name!r} has no rate_limit", "it limits nothing", item)
    return Node(
        level.children,
        level.wildcards,
        threshold,
        value_in_metric=reader.flag(found, "value_to_metric"),
        shared=shared,
    )


def _threshold(reader: Reader, found: dict[str, yaml.Node], path: str) -> Threshold | None:
    node = found.get("rate_limit")
    fields = reader.mapping(node, _RATE_LIMIT) if node is not None else None
    if node is None or fields is None:
        return None
    unlimited = reader.flag(fields, "unlimited")
    unit = _unit(reader, node, fields, unlimited=unlimited)
    count = reader.whole(fields, "requests_per_unit", COUNT_MAX) or 0
    if not count and not unlimited:
        todo = "write unlimited: true if everything may pass"
        reader.note("requests_per_unit is 0, which refuses everything", todo, node)
    metadata = found.get("metadata")
    plain = reader.plain(metadata) if metadata is not None else {}
    if not isinstance(plain, dict):
        assert metadata is not None
        reader.fault("metadata is not a mapping", "write keys and values", metadata)
        plain = {}
    name = reader.text(fields, "name")
    limit = None
    if unit is not None and count:
        rate = Rate(count, timedelta(seconds=SECONDS[unit]))
        limit = FixedWindow(rate, name=name or path[1:].replace("\n", "."))
    return Threshold(
        limit,
        count,
        unit,
        unlimited=unlimited,
        name=name,
        replaces=_replaces(reader, fields, name),
        shadow=reader.flag(found, "shadow_mode"),
        quota=reader.flag(found, "quota_mode"),
        detailed=reader.flag(found, "detailed_metric"),
        metadata=plain,
    )


def _unit(
    reader: Reader, node: yaml.Node, fields: dict[str, yaml.Node], *, unlimited: bool
) -> Unit | None:
    text = reader.text(fields, "unit")
    known = text.lower() if text.lower() in set(Unit) else None
    if unlimited:
        if known is not None:
            reader.fault("a unit of what is unlimited", "remove one of them", fields["unit"])
        return None
    if known is None:
        reader.fault(f"the unit is {text!r}", f"write one of {', '.join(Unit)}", node)
        return None
    return Unit(known)


def _replaces(reader: Reader, fields: dict[str, yaml.Node], name: str) -> frozenset[str]:
    found = set()
    for item in reader.items(fields, "replaces"):
        one = reader.mapping(item, ("name",)) or {}
        other = reader.text(one, "name")
        if not other:
            reader.fault("replaces has an entry without a name", "name what it replaces", item)
        elif other == name:
            reader.fault(f"{name!r} replaces itself", "name another one", item)
        found.add(other)
    return frozenset(found - {""})
