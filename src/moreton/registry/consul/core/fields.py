"""Bodies of requests: JSON whose keys clients write as they like.

Consul compares keys without case, and some without underscores: `Name`, `name`, `GRPCUseTLS`,
`grpc_use_tls` and `ServiceID`, `service_id` are each one key. Here all are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moreton.registry.consul.core.durations import parse_duration
from moreton.registry.consul.core.refusals import undecodable

# Deeper than anything that is meant, and far from what exhausts the stack.
_INT64 = range(-(1 << 63), 1 << 63)


def read_json(body: bytes) -> Any:
    """The JSON value in *body*. Raises `ConsulRequestRefused`."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        text = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise undecodable(text) from error


def fold(key: str) -> str:
    """What is the same for every way to write *key*."""
    return key.replace("_", "").lower()


class Fields:
    """A JSON object read by folded keys; what is absent or null has the default.

    Every reader raises `ConsulRequestRefused` for a value of another kind.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise undecodable(f"{what} is {_kind(value)}, expected an object")
        self._what = what
        self._values: dict[str, Any] = {fold(key): each for key, each in value.items()}

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def has(self, key: str) -> bool:
        """Whether *key* is there, be it null."""
        return key in self._values

    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return all(value is None for value in self._values.values())

    def raw(self, key: str) -> Any:
        """The value as it is."""
        return self._values.get(key)

    def text(self, *keys: str) -> str:
        """The first of *keys* that is there and not empty."""
        for key in keys:
            found = self._values.get(key)
            if found is not None and not isinstance(found, str):
                raise self._wrong(key, found, "a string")
            if found:
                return str(found)
        return ""

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of 64 bits."""
        found = self._values.get(key)
        if found is None:
            return default
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int) or found not in _INT64:
            raise self._wrong(key, found, "a whole number")
        return found

    def flag(self, key: str) -> bool:
        """True or false."""
        found = self._values.get(key)
        if found is not None and not isinstance(found, bool):
            raise self._wrong(key, found, "true or false")
        return bool(found)

    def duration(self, key: str) -> int:
        """Nanoseconds: of a text as Go reads it, or a number of them."""
        found = self._values.get(key)
        if found in (None, ""):
            return 0
        if not isinstance(found, str):
            return self.number(key)
        try:
            return parse_duration(found)
        except ValueError as error:
            raise undecodable(f"{self._what}: {key}: {error}") from error

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        found = self._values.get(key)
        if found is None:
            return ()
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise self._wrong(key, found, "a list of strings")
        return tuple(found)

    def pairs(self, key: str) -> Mapping[str, str]:
        """An object of strings; its keys are data and stay as they are."""
        found = self._values.get(key)
        if found is None:
            return {}
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise self._wrong(key, found, "an object of strings")
        return found

    def lists(self, key: str) -> Mapping[str, tuple[str, ...]]:
        """An object of lists of strings, as HTTP headers are written."""
        found = self._values.get(key)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self._wrong(key, found, "an object of lists of strings")
        inner = Fields({}, f"{self._what}: {key}")
        inner._values = found
        return {name: inner.texts(name) for name in found}

    def child(self, key: str) -> Fields | None:
        """An object within."""
        found = self._values.get(key)
        return None if found is None else Fields(found, f"{self._what}: {key}")

    def children(self, key: str) -> tuple[Fields, ...]:
        """A list of objects within."""
        found = self._values.get(key)
        if found is None:
            return ()
        if not isinstance(found, list):
            raise self._wrong(key, found, "a list of objects")
        return tuple(Fields(each, f"{self._what}: {key}") for each in found)

    def _wrong(self, key: str, found: object, expected: str) -> Exception:
        return undecodable(f"{self._what}: {key} is {_kind(found)}, expected {expected}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
