"""A PostgreSQL; handlers get a `psycopg.Connection`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import psycopg

from moreton.transactions.databases.postgres import (
    Connection,
    connect,
    database_name,
    translated,
)
from moreton.transactions.outbox.bell import CHANNEL
from moreton.transactions.outbox.places.place import Place, Work
from moreton.transactions.outbox.tables.dialect import POSTGRES
from moreton.transactions.outbox.tables.script import Batch, Rows, Script, drive
from moreton.transactions.outbox.writers import marked

T = TypeVar("T")
_CONNECT_SECONDS_MAX = 5
_LISTEN_AGAIN_SECONDS = 1.0


class PostgresPlace(Place):
    """One connection to the database at *conninfo*."""

    dialect = POSTGRES

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.name = database_name(conninfo)
        self._connection: Connection | None = None
        self._listening: psycopg.AsyncConnection[Any] | None = None

    @contextlib.contextmanager
    def begin(self) -> Iterator[Work]:
        """As `Place.begin`."""
        connection = self._connected()
        try:
            # Within it psycopg refuses that a handler commits.
            with connection.transaction():
                yield Work(connection, lambda batch: self._execute(connection, batch))
        except psycopg.OperationalError as error:
            raise translated(error, self.name) from error

    async def hear(self) -> None:
        """As `Place.hear`."""
        while True:
            try:
                if self._listening is None or self._listening.closed:
                    self._listening = await psycopg.AsyncConnection.connect(
                        self.conninfo, autocommit=True, connect_timeout=_CONNECT_SECONDS_MAX
                    )
                    await self._listening.execute(f"LISTEN {CHANNEL}".encode())
                async for _ in self._listening.notifies(stop_after=1):
                    return
            except psycopg.Error:
                # Events are found at the next poll meanwhile.
                await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    async def stop_hearing(self) -> None:
        """As `Place.stop_hearing`."""
        if self._listening is not None:
            await self._listening.close()

    def ask(self, script: Script[T]) -> T:
        """As `Place.ask`."""
        connection = self._connected()
        return drive(script, lambda batch: self._execute(connection, batch))

    def works(self) -> bool:
        """As `Place.works`."""
        try:
            with self.begin() as work:
                work.given.execute("SELECT 1")
        except Exception:  # noqa: BLE001 - whatever it is, it does not work
            return False
        return True

    def close(self) -> None:
        """As `Place.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, connection: Connection, batch: Batch) -> list[Rows]:
        """Our own statements; what those of a handler raise is the handler's."""
        try:
            return execute(connection, batch)
        except psycopg.Error as error:
            raise translated(error, self.name) from error

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self.conninfo, self.name)
        return self._connection


def execute(connection: Connection, batch: Batch) -> list[Rows]:
    """The rows of each statement of *batch*; several are one trip."""
    if len(batch) == 1:
        return [_rows(connection.execute(marked(batch[0].sql), batch[0].values))]
    with connection.pipeline():
        cursors = [connection.execute(marked(each.sql), each.values) for each in batch]
    return [_rows(cursor) for cursor in cursors]


def _rows(cursor: psycopg.Cursor[tuple[object, ...]]) -> Rows:
    return cursor.fetchall() if cursor.description else []
