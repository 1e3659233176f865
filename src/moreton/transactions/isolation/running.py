"""Runs the scripts of countermeasures with whatever the participant writes with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from moreton.transactions.isolation.errors import IsolationMissing, OutsideTransaction
from moreton.transactions.outbox.errors import NoTransaction, UnknownConnection
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script
from moreton.transactions.outbox.writers import writer_of, writer_of_async

T = TypeVar("T")
TABLES = "moreton_lock", "moreton_lock_name", "moreton_version", "moreton_version_next"


def run(connection: Any, script: Callable[[Dialect], Script[T]]) -> T:
    """What *script* comes to in the open transaction of *connection*."""
    with _said():
        writer = writer_of(connection)
        return writer.run(script(writer.dialect))


async def run_async(connection: Any, script: Callable[[Dialect], Script[T]]) -> T:
    """As `run`."""
    with _said():
        writer = writer_of_async(connection)
        return await writer.run(script(writer.dialect))


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except NoTransaction as error:
        raise OutsideTransaction from error
    except UnknownConnection as error:
        raise TypeError(
            "connection is none of sqlite3, psycopg, SQLAlchemy or Django, or is asynchronous "
            "where it must not be, or the other way round: give that of the open transaction"
        ) from error
    except Exception as error:
        words = str(error)
        missing = [each for each in TABLES if f"{each}" in words.split() or f'"{each}"' in words]
        if missing and ("no such table" in words or "does not exist" in words):
            raise IsolationMissing(missing[0]) from error
        raise
