"""How inputs and results are written down: as JSON, and what is not JSON by nature with a tag.

What a step is handed is always read from what was written, so that a saga which goes on in another
process sees the same values as one that never stopped: a tuple is a list, a key is a string.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from moreton.transactions.saga.errors import NotSerialisable, PayloadTooLarge

# Temporal allows 2 MiB; more than that belongs beside the saga, with its address within.
PAYLOAD_BYTES_MAX = 2 * 1024 * 1024

_TAGS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime: ("$datetime", datetime.isoformat),
    date: ("$date", date.isoformat),
    timedelta: ("$seconds", timedelta.total_seconds),
    Decimal: ("$decimal", str),
    UUID: ("$uuid", str),
    bytes: ("$bytes", bytes.hex),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$seconds": lambda seconds: timedelta(seconds=seconds),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$bytes": bytes.fromhex,
    "$dict": lambda pair: {pair[0]: pair[1]},
}
_TAGGED = frozenset(_READ)


class Codec:
    """To text and back; *kind* is what is made of a value that is read, if that is given."""

    __slots__ = ("_adapter", "kind")

    def __init__(self, kind: Any = None) -> None:
        self.kind = kind
        self._adapter: Any = None

    def encode(self, what: str, value: object, *, bytes_max: int = PAYLOAD_BYTES_MAX) -> str:
        """*value* as text; raises `NotSerialisable` or `PayloadTooLarge` about *what*."""
        if value is None:
            return "null"
        try:
            text = _ENCODER.encode(value)
            if '{"$' in text:
                value = _escaped(value)
                text = _ENCODER.encode(value)
            if not text.isascii() and plain(text) != text:
                text = _ASCII.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise NotSerialisable(what=what, value=value, reason=str(error)) from error
        if len(text) * 4 > bytes_max and len(text.encode()) > bytes_max:
            raise PayloadTooLarge(what=what, size=len(text.encode()), most=bytes_max)
        return text

    def decode(self, text: str) -> Any:
        """The value of *text*."""
        if self.kind is None:
            return None if text == "null" else _DECODER.decode(text)
        if self._adapter is None:
            from pydantic import TypeAdapter  # noqa: PLC0415 - 0.1 s that plain values do not pay

            self._adapter = TypeAdapter(self.kind)
        return self._adapter.validate_python(_DECODER.decode(text))


def plain(text: str) -> str:
    """*text* as every database takes it: without NUL and what is no character, which are named."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _plain(value: object) -> object:
    """What JSON lacks, as something that it has."""
    found = _TAGS.get(type(value))
    if found is not None:
        tag, write = found
        return {tag: write(value)}
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    dump = getattr(value, "model_dump", None)  # a model of pydantic
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"a {type(value).__qualname__} has no form as JSON")


def _untagged(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        tag = next(iter(found))
        read = _READ.get(tag)
        if read is not None:
            # In logs that are older than "$dict", a dictionary that only looks like a tag.
            with contextlib.suppress(
                TypeError, ValueError, ArithmeticError, AttributeError, LookupError
            ):
                return read(found[tag])
    return found


def _escaped(value: object) -> object:
    """*value*, with dictionaries that would be read as a tag said by one."""
    if isinstance(value, dict):
        made = {key: _escaped(one) for key, one in value.items()}
        return {"$dict": made.popitem()} if len(made) == 1 and made.keys() <= _TAGGED else made
    if isinstance(value, list | tuple):
        return [_escaped(one) for one in value]
    if value is None or isinstance(value, str | int | float) or type(value) in _TAGS:
        return value
    return _escaped(_plain(value))


_ENCODER = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
)
# Half a character, as in names of files, which UTF-8 has no bytes for.
_ASCII = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain)
_DECODER = json.JSONDecoder(object_hook=_untagged)
