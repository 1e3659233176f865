"""What a store holds and what a transaction makes of it, written to be obviously right.

A twin of `moreton.store.core.state`, and of nothing in it: a whole copy for every transaction.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from moreton.store.core.keys import covers
from moreton.store.core.model import Compare, Delete, KeyValue, Op, Put, Range, Transaction

_OPERATORS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt}
_FIRST_REVISION = 1


class Entry(NamedTuple):
    """One key."""

    key: bytes
    value: bytes
    create: int
    mod: int
    version: int


class Contents(NamedTuple):
    """All keys, in order, at one revision."""

    revision: int = _FIRST_REVISION
    entries: tuple[Entry, ...] = ()


def run_transaction(request: Transaction, before: Contents) -> tuple[Contents, dict[str, Any]]:
    """The contents after *request* and its answer, in the shape of `shown_result`."""
    entries = {entry.key: entry for entry in before.entries}
    succeeded = all(_holds(condition, entries) for condition in request.compare)
    results: list[dict[str, Any]] = []
    writes = False
    for op in request.then if succeeded else request.otherwise:
        match op:
            case Put():
                prev = entries.get(op.key)
                entries[op.key] = _put(op, prev, before.revision + 1)
                results.append({"prev": None if prev is None else _shown(prev)})
                writes = True
            case Delete():
                gone = [entries.pop(entry.key) for entry in _within(op, entries)]
                results.append({"deleted": len(gone), "prev": [_shown(each) for each in gone]})
                writes = writes or bool(gone)
            case Range():
                found = _within(op, entries)
                kvs = [_shown(each) for each in found[: op.limit]]
                results.append({"kvs": kvs, "count": len(found)})
    revision = before.revision + writes
    after = Contents(revision, tuple(sorted(entries.values()))) if writes else before
    return after, {"succeeded": succeeded, "revision": revision, "results": results}


def shown_pair(kv: KeyValue) -> dict[str, Any]:
    """*kv* as histories write it."""
    return _shown(Entry(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version))


def text_of(raw: bytes) -> str:
    """Keys and values as histories write them; what is not UTF-8 can be read back all the same."""
    return raw.decode(errors="surrogateescape")


def _put(op: Put, prev: Entry | None, revision: int) -> Entry:
    if prev is None:
        return Entry(op.key, op.value, revision, revision, 1)
    return Entry(op.key, op.value, prev.create, revision, prev.version + 1)


def _holds(condition: Compare, entries: Mapping[bytes, Entry]) -> bool:
    found = [entry for key, entry in entries.items() if covers(key, condition.key, condition.end)]
    compare = _OPERATORS[condition.operator]
    if condition.target == "value":
        return bool(found) and all(compare(entry.value, condition.operand) for entry in found)
    numbers = [getattr(entry, condition.target) for entry in found] or [0]
    return all(compare(number, condition.operand) for number in numbers)


def _within(op: Op, entries: Mapping[bytes, Entry]) -> list[Entry]:
    end = None if isinstance(op, Put) else op.end
    return sorted(entry for entry in entries.values() if covers(entry.key, op.key, end))


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "key": text_of(entry.key),
        "value": text_of(entry.value),
        "create_revision": entry.create,
        "mod_revision": entry.mod,
        "version": entry.version,
    }
