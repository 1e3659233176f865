"""The form of a store file: its tables, its mark, how a record becomes a row and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import TypeAlias, assert_never
from zlib import crc32

from moreton.store.core.changes import (
    Change,
    HistoryCompacted,
    LeaseGranted,
    LeaseRevoked,
    NothingChanged,
    Written,
)
from moreton.store.core.history import deleted_at
from moreton.store.core.model import KeyValue, Lease, LeaseId, WatchBatch, WatchEvent

# "Moreton" cut to what SQLite's application_id holds, and the newest form that we can read.
APPLICATION_ID = int.from_bytes(b"Mort", "big")
SCHEMA_VERSION = 1

SCHEMA = (
    # One record per changed key and revision: the log. A null value is a delete.
    """CREATE TABLE events (
        revision INTEGER NOT NULL,
        position INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB,
        create_revision INTEGER NOT NULL,
        version INTEGER NOT NULL,
        lease INTEGER,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (revision, key)
    ) WITHOUT ROWID""",
    "CREATE TABLE leases (id INTEGER PRIMARY KEY, ttl_microseconds INTEGER NOT NULL)",
    "CREATE TABLE compaction (revision INTEGER NOT NULL)",
    "INSERT INTO compaction VALUES (0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

SELECT_EVENTS = (
    "SELECT revision, position, key, value, create_revision, version, lease, checksum"
    " FROM events ORDER BY revision, position"
)

# By revision through the primary key, then by the record's name. Blobs cannot travel as JSON.
_DELETE_DEAD = (
    "DELETE FROM events WHERE revision IN (SELECT value FROM json_each(?))"
    " AND revision || ':' || lower(hex(key)) IN (SELECT value FROM json_each(?))"
)

# One statement is one release of Python's global lock: a group of small writes is one row list.
ROWS_PER_STATEMENT = 64

Value: TypeAlias = int | bytes | str | None
Statement: TypeAlias = tuple[str, Sequence[Value]]
EventRow: TypeAlias = tuple[int, int, bytes, bytes | None, int, int, int | None, int]


class BadRow(Exception):
    """A row that is not what was written."""


def statements(changes: Iterable[Change]) -> list[Statement]:
    """What makes *changes* last: to be run in one transaction, in this order."""
    rows: list[EventRow] = []
    leases: dict[LeaseId, timedelta | None] = {}
    compactions: list[HistoryCompacted] = []
    for change in changes:
        match change:
            case Written(batch):
                rows.extend(_rows(batch))
            case LeaseGranted(lease):
                leases[lease.id] = lease.ttl
            case LeaseRevoked(lease, batch):
                leases[lease.id] = None
                rows.extend(_rows(batch) if batch else ())
            case HistoryCompacted():
                compactions.append(change)
            case NothingChanged():
                pass
            case _:
                assert_never(change)
    return [*_insert_events(rows), *_change_leases(leases), *_compact(compactions)]


def read_event(row: EventRow) -> WatchEvent:
    """The record in *row*, without what lay there before. Raises `BadRow`."""
    revision, _, key, value, create_revision, version, lease, checksum = row
    if checksum != _checksum(row[:-1]):
        message = f"the record of key {key!r} at revision {revision} fails its checksum"
        raise BadRow(message)
    if value is None:
        return WatchEvent("delete", deleted_at(key, revision), None)
    hangs_on = None if lease is None else LeaseId(lease)
    kv = KeyValue(key, value, create_revision, revision, version, hangs_on)
    return WatchEvent("put", kv, None)


def read_lease(row: tuple[int, int]) -> Lease:
    """The lease in *row*."""
    return Lease(LeaseId(row[0]), timedelta(microseconds=row[1]))


def _rows(batch: WatchBatch) -> Iterator[EventRow]:
    for position, event in enumerate(batch.events):
        kv = event.kv
        value = kv.value if event.kind == "put" else None
        row = (batch.revision, position, kv.key, value, kv.create_revision, kv.version, kv.lease)
        yield *row, _checksum(row)


def _checksum(row: tuple[int, int, bytes, bytes | None, int, int, int | None]) -> int:
    revision, position, key, value, create_revision, version, lease = row
    numbers = (revision, position, create_revision, version, lease, value is None, len(key))
    return crc32(value or b"", crc32(key, crc32(repr(numbers).encode())))


def _insert_events(rows: list[EventRow]) -> Iterator[Statement]:
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        chunk = rows[start : start + ROWS_PER_STATEMENT]
        yield _insert_sql(len(chunk)), [value for row in chunk for value in row]


@cache
def _insert_sql(rows: int) -> str:
    row = "(?, ?, ?, ?, ?, ?, ?, ?)"
    return f"INSERT INTO events VALUES {', '.join([row] * rows)}"  # noqa: S608 - only marks


def _change_leases(leases: dict[LeaseId, timedelta | None]) -> Iterator[Statement]:
    # As JSON objects: whatever their number, one statement each.
    granted = {
        str(lease): ttl // timedelta(microseconds=1)
        for lease, ttl in leases.items()
        if ttl is not None
    }
    revoked = [lease for lease, ttl in leases.items() if ttl is None]
    if granted:
        insert = "REPLACE INTO leases SELECT CAST(key AS INTEGER), value FROM json_each(?)"
        yield insert, (json.dumps(granted),)
    if revoked:
        delete = "DELETE FROM leases WHERE id IN (SELECT value FROM json_each(?))"
        yield delete, (json.dumps(revoked),)


def _compact(compactions: Iterable[HistoryCompacted]) -> Iterator[Statement]:
    for compaction in compactions:
        revisions = json.dumps(sorted({revision for revision, _ in compaction.dead}))
        records = json.dumps([f"{revision}:{key.hex()}" for revision, key in compaction.dead])
        yield "UPDATE compaction SET revision = ?", (compaction.revision,)
        yield _DELETE_DEAD, (revisions, records)
