"""The tables of an SQLite file, as what a prepared transaction has to know of them."""

# ruff: noqa: S608 - names come from the schema, and are quoted
from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from moreton.transactions.twophase.errors import PrepareRefused

# What says that the file waits, and what may be decided meanwhile, is not part of any work.
OURS = {
    "moreton_prepared", "moreton_prepared_row", "moreton_prepared_value", "moreton_finished",
    "moreton_decision", "moreton_decision_log",
}  # fmt: skip
_ROW_NAMES = ("rowid", "_rowid_", "oid")
_VISIBLE = 0
LOCK_PREFIX = "moreton_lock_"
_STILL_OPEN = (
    "SELECT RAISE(ABORT, 'moreton: a statement that failed has rolled the work back') "
    "WHERE NOT EXISTS (SELECT 1 FROM moreton_open); "
)
WAITS = "moreton: the file waits for the decision about a prepared transaction"

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS moreton_prepared (
    gid TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS moreton_prepared_row (
    gid TEXT NOT NULL,
    number INTEGER NOT NULL,
    tbl TEXT NOT NULL,
    place TEXT NOT NULL,
    stays INTEGER NOT NULL,
    PRIMARY KEY (gid, number)
)""",
    """CREATE TABLE IF NOT EXISTS moreton_prepared_value (
    gid TEXT NOT NULL,
    number INTEGER NOT NULL,
    col INTEGER NOT NULL,
    value,
    PRIMARY KEY (gid, number, col)
)""",
    """CREATE TABLE IF NOT EXISTS moreton_finished (
    gid TEXT PRIMARY KEY,
    committed INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
)""",
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the user's; *columns* are all that a row is made of, *key* those that name it."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    has_rowid: bool

    def place(self, row: str) -> str:
        """An SQL expression, within a trigger, for the condition that finds *row* (NEW, OLD)."""
        if self.has_rowid:
            return f"'{self.key[0]} = ' || {row}.{self.key[0]}"
        parts = (f"'{_text(quoted(name))} IS ' || {_literal(row, name)}" for name in self.key)
        return " || ' AND ' || ".join(parts)


def tables(connection: sqlite3.Connection, participant: str) -> tuple[list[Table], frozenset[str]]:
    """The tables that can be written to, and the names of those that cannot."""
    found: list[Table] = []
    barred: set[str] = set()
    for _, name, kind, _, without_rowid, _ in connection.execute("PRAGMA main.table_list"):
        if name in OURS or name.startswith("sqlite_"):
            continue
        if kind in {"virtual", "shadow"}:
            barred.add(name)
        elif kind == "table":
            found.append(_table(connection, participant, name, without_rowid=bool(without_rowid)))
    return found, frozenset(barred)


def _table(
    connection: sqlite3.Connection, participant: str, name: str, *, without_rowid: bool
) -> Table:
    columns = connection.execute(f"PRAGMA main.table_xinfo({quoted(name)})").fetchall()
    # Generated columns follow from the others.
    stored = [column[1] for column in columns if column[6] == _VISIBLE]
    if without_rowid:
        ranked = sorted((column[5], column[1]) for column in columns if column[5])
        return Table(name, tuple(stored), tuple(one for _, one in ranked), has_rowid=False)
    taken = {column[1].lower() for column in columns}
    row = next((one for one in _ROW_NAMES if one not in taken), None)
    if row is None:
        raise PrepareRefused(
            participant=participant,
            reason=f"table {name!r} has columns of all three names of a row number",
        )
    return Table(name, (row, *stored), (row,), has_rowid=True)


def lock_triggers(table: Table) -> dict[str, str]:
    """The triggers that refuse writes to *table* while the file waits, by name."""
    return {
        f"{LOCK_PREFIX}{table.name}_{act.lower()}": (
            f"CREATE TRIGGER {quoted(f'{LOCK_PREFIX}{table.name}_{act.lower()}')} "
            f"BEFORE {act} ON {quoted(table.name)} "
            "WHEN EXISTS (SELECT 1 FROM moreton_prepared) "
            f"BEGIN SELECT RAISE(ABORT, '{WAITS}'); END"
        )
        for act in ("INSERT", "UPDATE", "DELETE")
    }


def note_triggers(table: Table) -> list[str]:
    """The triggers of one connection that note which rows of *table* it touches."""
    rows = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
    return [
        f"CREATE TEMP TRIGGER {quoted(f'moreton_note_{table.name}_{act.lower()}')} "
        f"AFTER {act} ON main.{quoted(table.name)} BEGIN {_STILL_OPEN}"
        + "".join(
            f"INSERT INTO moreton_touched VALUES ('{_text(table.name)}', {table.place(row)}); "
            for row in touched
        )
        + "END"
        for act, touched in rows.items()
    ]


def quoted(name: str) -> str:
    """*name* as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return value.replace("'", "''")


def _literal(row: str, column: str) -> str:
    """An expression for *column* as an SQL literal; `quote` would cut text at a NUL."""
    value = f"{row}.{quoted(column)}"
    return (
        f"CASE typeof({value}) WHEN 'text' THEN 'CAST(X''' || hex({value}) || ''' AS TEXT)' "
        f"ELSE quote({value}) END"
    )
