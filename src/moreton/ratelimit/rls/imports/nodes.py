"""YAML as envoyproxy/ratelimit reads it: text as it is written, `<<` merged, and every place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from moreton.config import Fault, Location

# At any level, as its check of names does not look where one stands.
KNOWN = frozenset({
    "domain", "key", "value", "descriptors", "rate_limit", "unit", "requests_per_unit",
    "unlimited", "shadow_mode", "quota_mode", "name", "replaces", "detailed_metric",
    "value_to_metric", "share_threshold", "metadata",
})  # fmt: skip
_MERGE = "tag:yaml.org,2002:merge"
_SCALARS: Any = yaml.SafeLoader("")
_DEPTH_MAX = 32
PREVENTS = "no limit of the file is served"


@dataclass(slots=True)
class Reader:
    """Reads the nodes of *file*, and collects what is wrong, and what is only odd."""

    file: str
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    def fault(self, what: str, todo: str, node: yaml.Node) -> None:
        """Something wrong at *node*."""
        self.faults.append(Fault(what, todo, self.place(node), PREVENTS))

    def note(self, what: str, todo: str, node: yaml.Node) -> None:
        """Something at *node* that is allowed and perhaps not meant."""
        self.notes.append(Fault(what, todo, self.place(node), "served as it is"))

    def place(self, node: yaml.Node) -> Location:
        """Where *node* stands."""
        return Location(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def mapping(self, node: yaml.Node, here: Sequence[str]) -> dict[str, yaml.Node] | None:
        """The values of a mapping that may have the keys *here*; `None` when it is none."""
        if not isinstance(node, yaml.MappingNode):
            self.fault(f"{_shown(node)} is not a mapping", "write keys and values", node)
            return None
        found: dict[str, yaml.Node] = {}
        for key_node, value in self._pairs(node, 0):
            key = str(key_node.value)
            if key_node.tag != "tag:yaml.org,2002:str":
                self.fault(f"the key {key!r} is not text", "put it in quotes", key_node)
            elif key not in KNOWN:
                self.fault(f"{key!r} is not a known key", "correct or remove it", key_node)
            elif key not in here:
                self.note(f"{key!r} says nothing here", "move or remove it", key_node)
            elif not _is_null(value):
                found.setdefault(key, value)
        return found

    def _pairs(self, node: yaml.MappingNode, depth: int) -> Iterator[tuple[Any, Any]]:
        """What is written in *node*, then what it merges: the first of a key is meant."""
        seen: set[str] = set()
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            if key.value in seen:
                self.fault(f"{key.value!r} is written twice", "keep one of them", key)
            seen.add(str(key.value))
            yield key, value
        for other in merged:
            if isinstance(other, yaml.MappingNode) and depth < _DEPTH_MAX:
                yield from self._pairs(other, depth + 1)

    def items(self, fields: dict[str, yaml.Node], key: str) -> list[yaml.Node]:
        """The items of the list *key*."""
        node = fields.get(key)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.fault(f"{key} is {_shown(node)}", "write a list", node)
            return []
        return list(node.value)

    def text(self, fields: dict[str, yaml.Node], key: str) -> str:
        """The text of *key* as it is written; empty when there is none."""
        node = fields.get(key)
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":float"):
            self.fault(f"{key} is {_shown(node)}", "write text, in quotes", node)
            return ""
        return str(node.value)

    def flag(self, fields: dict[str, yaml.Node], key: str) -> bool:
        """Whether *key* is true."""
        node = fields.get(key)
        if node is None:
            return False
        if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":bool"):
            self.fault(f"{key} is {_shown(node)}", "write true or false", node)
            return False
        return bool(_SCALARS.construct_object(node))

    def whole(self, fields: dict[str, yaml.Node], key: str, most: int) -> int | None:
        """The number of *key* in [0, *most*]; `None` when there is none."""
        node = fields.get(key)
        if node is None:
            return None
        value = _SCALARS.construct_object(node) if node.tag.endswith(":int") else None
        if value is None or not 0 <= value <= most:
            self.fault(f"{key} is {_shown(node)}", f"write a whole number from 0 to {most}", node)
            return None
        return int(value)

    def plain(self, node: yaml.Node, depth: int = 0) -> Any:
        """*node* as plain data, as metadata may be."""
        if depth > _DEPTH_MAX:
            self.fault("nested too deep", f"use less than {_DEPTH_MAX} levels", node)
            return None
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key, value in self._pairs(node, 0):
                found.setdefault(str(key.value), self.plain(value, depth + 1))
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(one, depth + 1) for one in node.value]
        value = _SCALARS.construct_object(node)
        return value if isinstance(value, str | int | float | bool | None) else str(node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return repr(str(node.value)[:40])
