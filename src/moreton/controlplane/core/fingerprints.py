"""Short hashes of what objects say, the same in every process: to compare nodes by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from typing import Any

from moreton.controlplane.core.objects import Definition, ObjectKey, Value
from moreton.gateway.core.model import Gateway

_HASH_BYTES = 6


def fingerprints(definitions: Mapping[ObjectKey, Definition]) -> dict[str, str]:
    """The hash of each object, by its name for people: `route "everything"`."""
    return {str(key): _hash(_shared(each.value)) for key, each in definitions.items()}


def digest_of(prints: Mapping[str, str]) -> str:
    """One hash for all of *prints*."""
    return _hash(dict(prints))


def _shared(value: Value) -> Value:
    """*value* without what is a machine's own: where it listens, and its files."""
    if isinstance(value, Gateway):
        return replace(value, listeners=(), access_log=None)
    return value


def _hash(value: object) -> str:
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).hexdigest()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return [type(value).__name__, found]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(each) for each in value), key=repr)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    # Networks and time zones say themselves.
    return value if isinstance(value, str | int | float | None) else str(value)
