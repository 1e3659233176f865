"""The nodes of one control plane: what each tells the others of itself, and how they differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

PREFIX = b"/moreton/nodes/"
_ABOUT, _OBJECTS = "about", "objects"
_SHOWN_MAX = 3


@dataclass(frozen=True, slots=True)
class Node:
    """One `moreton up` of several that share a store.

    *home* is the id of its state folder: it tells a node that came back from another one of the
    same name. *applied* is the store's revision up to which its proxies have everything in force,
    but for *rejected*: objects that one of them refused, and why.
    """

    name: str
    home: str
    pid: int = 0
    host: str = ""
    version: str = ""
    api: str = ""  # where clients reach it; empty until it answers
    certificate: str = ""  # of its API, PEM, when that is over TLS
    configuration: str = ""  # the hash of what its moreton.yaml defines
    applied: int = 0
    rejected: Mapping[str, str] = field(default_factory=dict)
    leaving: Mapping[str, Any] = field(default_factory=dict)  # how far its proxies are with that


def about_key(name: str) -> bytes:
    """Where the node *name* tells of itself."""
    return PREFIX + f"{name}/{_ABOUT}".encode()


def objects_key(name: str) -> bytes:
    """Where the node *name* tells the hash of each object in its moreton.yaml."""
    return PREFIX + f"{name}/{_OBJECTS}".encode()


def encode_node(node: Node) -> bytes:
    """*node* as the store has it."""
    return encode_objects(asdict(node))


def decode_node(value: bytes) -> Node | None:
    """The node in *value*; `None` for what is none. Fields of a later version are left out."""
    try:
        document = json.loads(value)
        known = {each.name: document[each.name] for each in fields(Node) if each.name in document}
        return Node(**known)
    except (ValueError, TypeError):
        return None


def encode_objects(objects: Mapping[str, object]) -> bytes:
    """A mapping as the store has it."""
    return json.dumps(objects, sort_keys=True, separators=(",", ":")).encode()


def decode_objects(value: bytes) -> dict[str, str]:
    """The mapping in *value*; empty for what is none."""
    try:
        document = json.loads(value)
        return {str(name): str(each) for name, each in document.items()}
    except (ValueError, AttributeError):
        return {}


def parse_key(key: bytes) -> tuple[str, str]:
    """The node's name, and which of the two keys *key* is: `about` or `objects`."""
    name, _, what = key.removeprefix(PREFIX).decode(errors="replace").partition("/")
    return name, what


def is_about(what: str) -> bool:
    """Whether it is the key of `about_key`."""
    return what == _ABOUT


def is_objects(what: str) -> bool:
    """Whether it is the key of `objects_key`."""
    return what == _OBJECTS


def differences(objects: Mapping[str, Mapping[str, str]]) -> str:
    """How the moreton.yaml of the nodes differ, by node; empty when they are the same."""
    found = list(_differences(objects))
    shown = "; ".join(found[:_SHOWN_MAX])
    more = len(found) - _SHOWN_MAX
    return shown + (f"; and {more} more" if more > 0 else "")


def _differences(objects: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name in sorted({name for each in objects.values() for name in each}):
        variants: defaultdict[str | None, list[str]] = defaultdict(list)
        for node, each in sorted(objects.items()):
            variants[each.get(name)].append(node)
        if len(variants) == 1:
            continue
        without = variants.pop(None, [])
        sides = [f"{', '.join(nodes)} {_has(nodes)} it" for nodes in variants.values()]
        if len(variants) > 1:
            words = ["one", *["another"] * len(variants)]
            shown = map(", ".join, variants.values())
            sides = [f"{word} on {nodes}" for word, nodes in zip(words, shown, strict=False)]
        if without:
            sides.append(f"{', '.join(without)} {_has(without)} none")
        yield f"{name}: {', '.join(sides)}"


def _has(nodes: list[str]) -> str:
    return "has" if len(nodes) == 1 else "have"
