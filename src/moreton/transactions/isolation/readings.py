"""Values that a step has read and a later one relies on: looked at again before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moreton.transactions.isolation.columns import check_columns, check_key, check_table, matches
from moreton.transactions.isolation.errors import NoRow, ValueChanged
from moreton.transactions.isolation.running import run, run_async
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

_DIGEST_CHARS = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """How some columns of one row were when they were read; `check` says whether they still are.

    It travels as a step's result, by `as_document`; of the values it carries digests alone. Values
    that changed and changed back are as they were: read a column that counts versions, too, where
    that matters. *values* are there for who has read them, and do not travel::

        seen = Reading.of(connection, "orders", {"id": 17}, "state", "cents")
        ...                      # other steps, minutes, other processes
        seen.check(connection)   # raises ValueChanged; holds the row until the transaction ends
        connection.execute("UPDATE orders SET state = 'paid' WHERE id = 17")
    """

    table: str
    key: Mapping[str, Any]
    digests: Mapping[str, str]
    values: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_table(self.table)
        check_key(self.key)
        check_columns("digests", self.digests)

    @classmethod
    def of(cls, connection: Any, table: str, key: Mapping[str, Any], *columns: str) -> Reading:
        """Read *columns* of the row of *table* that has *key*; raises `NoRow`."""
        check_table(table)
        check_key(key)
        check_columns("columns", columns)
        return run(connection, lambda dialect: _read(dialect, table, key, columns))

    @classmethod
    async def of_async(
        cls, connection: Any, table: str, key: Mapping[str, Any], *columns: str
    ) -> Reading:
        """As `of`."""
        check_table(table)
        check_key(key)
        check_columns("columns", columns)
        return await run_async(connection, lambda dialect: _read(dialect, table, key, columns))

    def check(self, connection: Any) -> None:
        """Raise `ValueChanged` unless all is as it was; it stays so until the transaction ends."""
        run(connection, self._checked)

    async def check_async(self, connection: Any) -> None:
        """As `check`."""
        await run_async(connection, self._checked)

    def as_document(self) -> dict[str, Any]:
        """What can be sent as JSON, if the key can."""
        return {"table": self.table, "key": dict(self.key), "digests": dict(self.digests)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Reading:
        """The reading that `as_document` told; raises `ValueError` for what is none."""
        try:
            return cls(document["table"], document["key"], document["digests"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"a reading is {document!r}: send what as_document gave") from error

    def _checked(self, dialect: Dialect) -> Script[None]:
        try:
            now = yield from _read(dialect, self.table, self.key, list(self.digests), held=True)
        except NoRow:
            changed = list(self.digests)
        else:
            changed = [name for name, seen in self.digests.items() if now.digests[name] != seen]
        if changed:
            raise ValueChanged(table=self.table, key=dict(self.key), columns=changed)


def _read(
    dialect: Dialect,
    table: str,
    key: Mapping[str, Any],
    columns: Sequence[str],
    *,
    held: bool = False,
) -> Script[Reading]:
    where = f"WHERE {matches(key)}"
    if held and not dialect.is_postgres:
        # Changes nothing, but begins to write: nobody else does until the transaction ends.
        yield [Statement(f"UPDATE {table} SET {columns[0]} = {columns[0]} WHERE 0")]
    lock = " FOR UPDATE" if held and dialect.is_postgres else ""
    (rows,) = yield [
        Statement(f"SELECT {', '.join(columns)} FROM {table} {where}{lock}", list(key.values()))
    ]
    if not rows:
        raise NoRow(table=table, key=dict(key))
    values = dict(zip(columns, rows[0], strict=True))
    digests = {name: _digest(value) for name, value in values.items()}
    return Reading(table, key, digests, values)


def _digest(value: object) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        # A session may show the same moment in another zone.
        value = value.astimezone(UTC).isoformat()
    if isinstance(value, memoryview):
        value = bytes(value)
    text = json.dumps([type(value).__name__, value], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]
