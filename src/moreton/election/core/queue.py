"""Who may go in, and whom the others wait for: a queue in the order of arrival.

An entry's key is its lease in hexadecimal with a suffix: none for one that goes in alone, `.read`
for one that goes in with others like it, `.5` for one of five permits. The revision that created it
is its place, and its fencing token once it is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from moreton.store.core.model import KeyValue

READ_SUFFIX = ".read"
_ENTRY = re.compile(rb"[0-9a-f]{16}(?:\.(?:(read)|([1-9][0-9]{0,8})|.*))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One who is in or waits. *token*: the revision that created its key."""

    key: bytes
    token: int
    value: bytes
    reads: bool = False
    permits: int = 1

    def blocks(self, other: Entry) -> bool:
        """Whether *other*, when behind, may have to wait for this one."""
        return not (self.reads and other.reads)


@dataclass(frozen=True, slots=True)
class GoIn:
    """It is one's turn."""


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Look again once *count* of *keys* are gone; *first* is the first of those in the way."""

    keys: frozenset[bytes]
    count: int
    first: Entry


@dataclass(frozen=True, slots=True)
class NotThere:
    """The entry is gone, and with it the place in the queue."""


Turn: TypeAlias = GoIn | WaitFor | NotThere


def entries_of(prefix: bytes, found: Iterable[KeyValue]) -> list[Entry]:
    """The entries in order of arrival. Keys that are not like an entry's are left out."""
    entries = [entry for kv in found if (entry := entry_of(prefix, kv)) is not None]
    entries.sort(key=lambda entry: entry.token)
    return entries


def entry_of(prefix: bytes, kv: KeyValue) -> Entry | None:
    """The entry at *kv*; of a suffix that is not known yet, one that goes in alone."""
    match = _ENTRY.fullmatch(kv.key.removeprefix(prefix))
    if match is None:
        return None
    reads, permits = match[1] is not None, int(match[2] or 1)
    return Entry(kv.key, kv.create_revision, kv.value, reads=reads, permits=permits)


def turn_of(key: bytes, entries: Sequence[Entry]) -> Turn:
    """What the owner of *key* is to do, *entries* being in order of arrival.

    Whoever came first goes in first, so that a stream of readers cannot starve a writer. Each
    waits for as few others as possible: of permits that differ, the fewest count.
    """
    at = next((index for index, entry in enumerate(entries) if entry.key == key), None)
    if at is None:
        return NotThere()
    mine = entries[at]
    ahead = [entry for entry in entries[:at] if entry.blocks(mine)]
    limit = min(entry.permits for entry in (*ahead, mine))
    if len(ahead) < limit:
        return GoIn()
    if limit == 1:
        # Nobody but the next in line is woken when one leaves.
        return WaitFor(frozenset({ahead[-1].key}), 1, ahead[0])
    keys = frozenset(entry.key for entry in ahead)
    return WaitFor(keys, len(ahead) - limit + 1, ahead[0])


def in_of(entries: Sequence[Entry]) -> list[Entry]:
    """Those whose turn it is, in order of arrival."""
    return [entry for entry in entries if isinstance(turn_of(entry.key, entries), GoIn)]
