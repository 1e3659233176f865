"""Names of tables and columns that users give: part of a statement, so that each is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PART = r'(?:[A-Za-z_][A-Za-z0-9_]*|"[^"?%\x00]+")'
_NAME = re.compile(_PART)
_TABLE = re.compile(rf"{_PART}(?:\.{_PART})?")
COLUMNS_MAX = 32


def check_table(table: object) -> None:
    """*table* is the name of a table, with its schema's if need be; quoted where it must be."""
    if not isinstance(table, str) or not _TABLE.fullmatch(table):
        raise ValueError(f'table is {table!r}: give a name, as accounts, or "Order" with its marks')


def check_columns(what: str, columns: Iterable[object]) -> None:
    """*columns* are names of columns, 1 to `COLUMNS_MAX`."""
    names = list(columns)
    if not 1 <= len(names) <= COLUMNS_MAX:
        raise ValueError(f"{what} has {len(names)} columns: give 1 to {COLUMNS_MAX}")
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{what} names a column {name!r}: give its name in the table")


def check_key(key: object) -> None:
    """*key* says which row: values by column, none of them missing."""
    if not isinstance(key, Mapping):
        raise TypeError(f"key is {key!r}: give the columns that name the row, as {{'id': 7}}")
    check_columns("key", key)
    missing = [name for name, value in key.items() if value is None]
    if missing:
        raise ValueError(f"key has no value for {', '.join(missing)}: NULL names no row")


def matches(key: Mapping[str, Any]) -> str:
    """The condition that a row has *key*, whose values follow in their order."""
    return " AND ".join(f"{name} = ?" for name in key)
