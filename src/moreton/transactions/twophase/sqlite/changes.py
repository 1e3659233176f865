"""The effect of a transaction as rows: read while it is there, kept, and put in place later."""

# ruff: noqa: S608 - names come from the schema, and are quoted
from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moreton.transactions.twophase.sqlite.schema import LOCK_PREFIX, Table, quoted


@dataclass(frozen=True, slots=True)
class RowChange:
    """What the row of *table* at *place* is to be: *values*, or gone."""

    table: str
    place: str
    values: tuple[tuple[str, Any], ...] | None


def read(connection: sqlite3.Connection, tables: Mapping[str, Table]) -> list[RowChange]:
    """What the rows that were touched have become."""
    touched = connection.execute("SELECT DISTINCT tbl, place FROM temp.moreton_touched").fetchall()
    return [_row(connection, tables[name], place) for name, place in touched]


def keep(connection: sqlite3.Connection, gid: str, changes: Iterable[RowChange]) -> None:
    """Write *changes* down, within the open transaction."""
    for number, change in enumerate(changes):
        connection.execute(
            "INSERT INTO moreton_prepared_row (gid, number, tbl, place, stays) "
            "VALUES (?, ?, ?, ?, ?)",
            (gid, number, change.table, change.place, change.values is not None),
        )
        for column, (kind, value) in enumerate(change.values or ()):
            mark = "CAST(? AS TEXT)" if kind == "text" else "?"
            connection.execute(
                "INSERT INTO moreton_prepared_value (gid, number, col, value) "
                f"VALUES (?, ?, ?, {mark})",
                (gid, number, column, value),
            )


def put_in_place(connection: sqlite3.Connection, gid: str, tables: Mapping[str, Table]) -> None:
    """Make the rows what they were kept to be, within the open transaction.

    What triggers and foreign keys did is among the changes, so that neither acts again.
    """
    rows = connection.execute(
        "SELECT number, tbl, place, stays FROM moreton_prepared_row WHERE gid = ? ORDER BY number",
        (gid,),
    ).fetchall()
    triggers = _take_triggers_off(connection, {name for _, name, _, _ in rows})
    # First all go, then those that stay come: no order of theirs can collide.
    for _, name, place, _ in rows:
        connection.execute(f"DELETE FROM main.{quoted(name)} WHERE {place}")
    for number, name, _, stays in rows:
        if stays:
            _insert(connection, tables[name], gid, number)
    for sql in triggers:
        connection.execute(sql)


def drop(connection: sqlite3.Connection, gid: str) -> None:
    """Remove what was kept for *gid*."""
    connection.execute("DELETE FROM moreton_prepared_row WHERE gid = ?", (gid,))
    connection.execute("DELETE FROM moreton_prepared_value WHERE gid = ?", (gid,))


def _row(connection: sqlite3.Connection, table: Table, place: str) -> RowChange:
    # Text as its bytes: it may hold what is no Unicode.
    columns = ", ".join(
        f"typeof({name}), CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END"
        for name in map(quoted, table.columns)
    )
    found = connection.execute(
        f"SELECT {columns} FROM main.{quoted(table.name)} WHERE {place}"
    ).fetchone()
    values = None if found is None else tuple(zip(found[::2], found[1::2], strict=True))
    return RowChange(table.name, place, values)


def _insert(connection: sqlite3.Connection, table: Table, gid: str, number: int) -> None:
    columns = ", ".join(map(quoted, table.columns))
    values = ", ".join(
        "(SELECT value FROM moreton_prepared_value "
        f"WHERE gid = ?1 AND number = ?2 AND col = {column})"
        for column in range(len(table.columns))
    )
    connection.execute(
        f"INSERT INTO main.{quoted(table.name)} ({columns}) VALUES ({values})",
        (gid, number),
    )


def _take_triggers_off(connection: sqlite3.Connection, names: set[str]) -> Sequence[str]:
    """Drop the user's triggers on the tables *names*; the statements that make them again."""
    found = [
        (name, sql)
        for name, table, sql in connection.execute(
            "SELECT name, tbl_name, sql FROM main.sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        if table in names and not name.startswith(LOCK_PREFIX)
    ]
    for name, _ in found:
        connection.execute(f"DROP TRIGGER main.{quoted(name)}")
    return [sql for _, sql in found]
