"""What the records of distributed transactions need of a database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from moreton.transactions.databases.driver import need_driver
from moreton.transactions.databases.errors import UnknownDatabaseUrl

Row = tuple[Any, ...]

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


class Session(Protocol):
    """One transaction of a database."""

    def run(self, sql: str, *values: object) -> int:
        """How many rows *sql* changed."""
        ...

    def rows(self, sql: str, *values: object) -> list[Row]:
        """The rows that *sql* answers with."""
        ...


class Database(Session, Protocol):
    """A database; on its own each statement is a transaction. For threads; safe between them.

    What was committed is on disk. Raises `DatabaseUnavailable` and `DatabaseRefused`.
    """

    skip_locked: str
    """What passes over rows that another transaction holds."""

    def transaction(self) -> AbstractContextManager[Session]:
        """Statements that are committed together; rolled back when the block raises."""
        ...

    def close(self) -> None:
        """Let go of its connections. May be called again."""
        ...


def open_database(url: str) -> Database:
    """The database at *url*: `sqlite:///relative`, `sqlite:////absolute`, `postgresql://…`.

    An SQLite file is made when it is not there, readable by its owner alone.
    """
    if not isinstance(url, str):
        raise TypeError(f"url is {url!r}: give an address, as 'sqlite:///moreton.db'")
    if url.startswith(_SQLITE) and url != _SQLITE:
        from moreton.transactions.databases.sqlite import SqliteDatabase  # noqa: PLC0415 - light

        return SqliteDatabase(Path(url.removeprefix(_SQLITE)))
    if url.startswith(_POSTGRES):
        need_driver()  # only who uses it
        from moreton.transactions.databases.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url)
    raise UnknownDatabaseUrl(url=url)
