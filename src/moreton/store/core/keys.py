"""Ranges of keys, as etcd writes them: `[key, end)`, one key, or everything from a key on."""

from __future__ import annotations

# etcd's sign for "no upper bound". No key lies below it, so it is useless as a real end.
NO_END = b"\0"


def prefix_end(prefix: bytes) -> bytes:
    """The *end* that makes `[prefix, end)` exactly the keys that begin with *prefix*."""
    stem = prefix.rstrip(b"\xff")
    if not stem:
        return NO_END
    return stem[:-1] + bytes((stem[-1] + 1,))


def covers(key: bytes, start: bytes, end: bytes | None) -> bool:
    """Whether *key* lies in the range: `None` means only *start*, `NO_END` all from it on."""
    if end is None:
        return key == start
    return start <= key and (end == NO_END or key < end)
