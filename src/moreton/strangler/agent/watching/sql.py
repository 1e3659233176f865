"""Notes statements of SQL, whoever runs them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from moreton.strangler.agent.core.effects import Kind
from moreton.strangler.agent.core.statements import redacted, writes_of
from moreton.strangler.agent.core.writes import rows_of
from moreton.strangler.agent.recording import Recording
from moreton.strangler.agent.watching.blocking import block_sql

_VALUE_CHARS_MAX = 500
_VALUES_MAX = 100
_NO_ROWS = ("LOCK ", "CALL ")
_ROWS = ("INSERT ", "UPDATE ", "DELETE ", "REPLACE ")


def note_sql(
    recording: Recording, sql: object, values: object = None, *, is_taken_back: bool = False
) -> bool:
    """Note what *sql* changes; whether it changes anything.

    A dry run does it only on a connection that *is taken back*: `Blocked` is raised otherwise.
    """
    text = sql if isinstance(sql, str) else _text(sql)
    found = writes_of(text)
    for what in found:
        recording.note(Kind.SQL, what, redacted(text))
        if recording.keep and not what.startswith(_NO_ROWS):
            rows = rows_of(text, values) if what.startswith(_ROWS) else [{"statement": text}]
            for row in rows:
                recording.write(what.lower(), plain(row))
    block_sql(recording, found, text, is_taken_back=is_taken_back)
    return bool(found)


def plain(values: object) -> Any:
    """*values* as JSON can have them, and not too many."""
    if isinstance(values, Mapping):
        return {str(key): _plain(one) for key, one in list(values.items())[:_VALUES_MAX]}
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return [plain(one) for one in values[:_VALUES_MAX]]
    return _plain(values)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Decimal | UUID | dt.date | dt.datetime | dt.time | dt.timedelta):
        return str(value)[:_VALUE_CHARS_MAX]
    if isinstance(value, Mapping | list | tuple):
        return plain(value)
    if isinstance(value, bytes | memoryview):
        return f"{len(value)} bytes"
    return str(value)[:_VALUE_CHARS_MAX]


def _text(sql: object) -> str:
    """What psycopg and others take instead of a text: bytes, or something made of parts."""
    if isinstance(sql, bytes):
        return sql.decode("utf-8", "replace")
    as_string = getattr(sql, "as_string", None)
    try:
        return str(as_string(None)) if callable(as_string) else str(sql)
    except Exception:  # noqa: BLE001 - a statement nobody can read is one nobody knows
        return "unreadable"
