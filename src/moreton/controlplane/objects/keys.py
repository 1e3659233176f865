"""Where the API's objects lie in the store: `/moreton/config/<kind>s/<name>`, JSON as it was put.

Weights set by the API lie apart, under `/moreton/config/weights/<route>`, for routes of the file
too; so does who goes where while a route moves, under `/moreton/config/moves/<route>`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from moreton.controlplane.core.objects import Kind, ObjectKey

PREFIX = b"/moreton/config/"
# Put with every change, so that a change which was decided on older ground is noticed.
CHANGED = PREFIX + b"changed"
_FOLDERS = {Kind.SERVICE: "services", Kind.ROUTE: "routes"}
_KINDS = {folder: kind for kind, folder in _FOLDERS.items()}
_WEIGHTS = "weights"
_MOVES = "moves"


class WeightsOf(NamedTuple):
    """The key of the weights of *route*."""

    route: str


class MoveOf(NamedTuple):
    """The key of who goes where while *route* moves."""

    route: str


def object_key(key: ObjectKey) -> bytes:
    """The store's key of an object."""
    return PREFIX + f"{_FOLDERS[key.kind]}/{key.name}".encode()


def weights_key(route: str) -> bytes:
    """The store's key of a route's weights."""
    return PREFIX + f"{_WEIGHTS}/{route}".encode()


def move_key(route: str) -> bytes:
    """The store's key of who goes where while a route moves."""
    return PREFIX + f"{_MOVES}/{route}".encode()


def parse_key(key: bytes) -> ObjectKey | WeightsOf | MoveOf | None:
    """What lies under the store's *key*; `None` for what a later version put there."""
    folder, _, name = key.removeprefix(PREFIX).decode(errors="replace").partition("/")
    if folder == _WEIGHTS:
        return WeightsOf(name)
    if folder == _MOVES:
        return MoveOf(name)
    kind = _KINDS.get(folder)
    return None if kind is None else ObjectKey(kind, name)


def encode(document: Mapping[str, Any]) -> bytes:
    """*document* as the store has it."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def decode(value: bytes) -> dict[str, Any]:
    """The document in *value*. Raises `ValueError`."""
    document = json.loads(value)
    if not isinstance(document, dict):
        message = f"{document!r} is not an object"
        raise ValueError(message)  # noqa: TRY004 - as json.loads does
    return document
