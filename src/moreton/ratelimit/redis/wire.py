"""Questions to a script as the bytes that go out: what does not change is put together once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_HEADS_MAX = 256
Key = bytes | str


@dataclass(frozen=True, slots=True)
class Script:
    """What the server is to do, and what it knows it by."""

    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a script is told beside its keys; *packed* is the same as bytes."""

    values: Sequence[Any]
    packed: bytes


def arguments_of(values: Sequence[Any]) -> Arguments:
    """*values*, packed."""
    return Arguments(values, packed(values))


def evalsha(script: Script, keys: Sequence[Key], arguments: Arguments) -> bytes:
    """EVALSHA: the server knows the script already."""
    head = _head("EVALSHA", script.digest, len(keys), len(arguments.values))
    return b"".join((head, packed(keys), arguments.packed))


def evaluate(script: Script, keys: Sequence[Key], arguments: Arguments) -> bytes:
    """EVAL, with all of the script."""
    head = _head("EVAL", script.text, len(keys), len(arguments.values))
    return b"".join((head, packed(keys), arguments.packed))


def packed(words: Sequence[Any]) -> bytes:
    """*words* as bulk strings."""
    found = [word if type(word) is bytes else str(word).encode() for word in words]
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in found])


@lru_cache(_HEADS_MAX)
def _head(command: str, script: str, keys: int, arguments: int) -> bytes:
    return b"*%d\r\n" % (3 + keys + arguments) + packed([command, script, keys])
