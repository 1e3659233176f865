"""Writes of a request in a header field: what two applications did is compared by it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Envoy takes 60 KiB of header fields, and other servers less.
CHARS_MAX = 24 * 1024
_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Writes:
    """What a request wrote, in order, each with *what* and *values*.

    *more*: there were others. *blocked*: what a dry run could not do, after which nothing it did
    says anything.
    """

    writes: Sequence[Mapping[str, Any]] = ()
    more: bool = False
    blocked: Sequence[str] = field(default=())


def pack(found: Writes) -> str:
    """*found* as text without spaces; as many writes as there is room for."""
    writes, more = list(found.writes), found.more
    while True:
        document = {"writes": writes, "more": more, "blocked": list(found.blocked)[:10]}
        text = json.dumps(document, separators=(",", ":"), default=str)
        packed = base64.urlsafe_b64encode(zlib.compress(text.encode("utf-8", "replace"))).decode()
        if len(packed) <= CHARS_MAX or not writes:
            return packed
        writes, more = writes[: len(writes) // 2], True


def unpack(packed: str) -> Writes | None:
    """What `pack` wrote; none for anything else. Never raises."""
    try:
        inflating = zlib.decompressobj()
        data = inflating.decompress(base64.urlsafe_b64decode(packed), _BYTES_MAX)
        document = json.loads(data)
        writes = [{"what": str(one["what"]), "values": one["values"]} for one in document["writes"]]
        blocked = [str(one) for one in document["blocked"]]
        return Writes(writes, more=bool(document["more"]), blocked=blocked)
    except (ValueError, KeyError, TypeError, zlib.error, RecursionError):
        return None


def grouped(found: Writes) -> dict[str, list[Any]]:
    """The writes by what they do, each group in order: as two sides are compared."""
    groups: dict[str, list[Any]] = {}
    for one in found.writes:
        groups.setdefault(str(one["what"]), []).append(one["values"])
    return groups
