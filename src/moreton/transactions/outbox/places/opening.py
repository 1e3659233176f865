"""A place by its address."""

from __future__ import annotations

from pathlib import Path

from moreton.transactions.databases.driver import need_driver
from moreton.transactions.databases.errors import (
    DatabaseNotOpened,
    DatabaseRefused,
    UnknownDatabaseUrl,
)
from moreton.transactions.outbox.places.place import Place

SQLITE = "sqlite:///"
# What waiting does not mend.
UNUSABLE = (DatabaseNotOpened, DatabaseRefused)
POSTGRES = ("postgresql://", "postgres://")


def open_place(where: str | Place) -> Place:
    """The place at `sqlite:///relative/file`, `sqlite:////absolute/file` or `postgresql://…`.

    Raises `UnknownDatabaseUrl`, `DriverMissing`, and what the database has to say.
    """
    if isinstance(where, Place):
        return where
    if not isinstance(where, str):
        raise TypeError(f"database is {where!r}: give an address, as 'sqlite:///shop.db'")
    if where.startswith(SQLITE) and where != SQLITE:
        from moreton.transactions.outbox.places.sqlite import SqlitePlace  # noqa: PLC0415 - light

        return SqlitePlace(Path(where.removeprefix(SQLITE)))
    if where.startswith(POSTGRES):
        need_driver()  # only who uses it
        from moreton.transactions.outbox.places.postgres import PostgresPlace  # noqa: PLC0415

        return PostgresPlace(where)
    raise UnknownDatabaseUrl(url=where)
