"""Compares texts by lines, and bytes that mean nothing."""

from __future__ import annotations

from moreton.strangler.compare.core.differences import Kind
from moreton.strangler.compare.core.walking.finding import Findings
from moreton.strangler.compare.core.walking.sequences import aligned

_SHOWN_BYTES = 24


def compare_text(primary: str, candidate: str, found: Findings) -> None:
    """Tells *found* which lines differ, counted from 1; how lines end does not count."""
    ours, theirs = primary.splitlines(), candidate.splitlines()
    for one, other in aligned(ours, theirs):
        if found.full:
            return
        if other is None and one is not None:
            found.missing(f"line[{one + 1}]", ours[one])
        elif one is None and other is not None:
            found.surplus(f"line[{other + 1}]", theirs[other])
        elif one is not None and other is not None and ours[one] != theirs[other]:
            found.add(f"line[{one + 1}]", Kind.VALUE, ours[one], theirs[other])


def compare_bytes(primary: bytes, candidate: bytes, found: Findings) -> None:
    """Tells *found* where two bodies part first, or that one is longer."""
    if primary == candidate:
        return
    if len(primary) != len(candidate):
        found.add("body", Kind.SIZE, f"{len(primary)} bytes", f"{len(candidate)} bytes")
        return
    at = next(index for index, (a, b) in enumerate(zip(primary, candidate, strict=True)) if a != b)
    found.add("body", Kind.VALUE, _from(primary, at), _from(candidate, at))


def _from(data: bytes, at: int) -> str:
    return f"{data[at : at + _SHOWN_BYTES].hex(' ')} from byte {at}"
