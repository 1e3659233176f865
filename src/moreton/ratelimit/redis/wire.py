"""Questions to a script as the bytes that go out: what does not change is put together once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_HEADS_MAX = 256
Key = bytes | str
# Valkey tells the version of Redis that it is compatible with.
VERSION_MIN = (6, 2)
_VERSION = re.compile(rb"^redis_version:(\d+\.\d+[\d.]*)", re.MULTILINE)


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


def info_of_server() -> bytes:
    """INFO, about the server alone."""
    return b"*2\r\n" + packed(["INFO", "server"])


def is_too_old(info: bytes) -> str:
    """The version that *info* tells, where it is before the first that will do; else nothing."""
    found = _VERSION.search(info)
    if found is None or tuple(map(int, found[1].split(b".")[:2])) >= VERSION_MIN:
        return ""
    return found[1].decode()


def packed(words: Sequence[Any]) -> bytes:
    """*words* as bulk strings."""
    found = [word if type(word) is bytes else str(word).encode() for word in words]
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in found])


@lru_cache(_HEADS_MAX)
def _head(command: str, script: str, keys: int, arguments: int) -> bytes:
    return b"*%d\r\n" % (3 + keys + arguments) + packed([command, script, keys])
