"""A PostgreSQL; handlers get a `psycopg.Connection`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import psycopg

from moreton.transactions.databases.postgres import (
    connect_as,
    database_name,
    patient,
    translated,
)
from moreton.transactions.outbox.bell import CHANNEL
from moreton.transactions.outbox.places.place import Place, Work
from moreton.transactions.outbox.places.trips import Trips
from moreton.transactions.outbox.tables.dialect import POSTGRES
from moreton.transactions.outbox.tables.script import Batch, Rows, Script, drive

T = TypeVar("T")
_IDLE = psycopg.pq.TransactionStatus.IDLE
_LISTEN_AGAIN_SECONDS = 1.0


class PostgresPlace(Place):
    """One connection to the database at *conninfo*."""

    dialect = POSTGRES

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.name = database_name(conninfo)
        self._connection: _Connection | None = None
        self._trips: Trips
        self._listening: psycopg.AsyncConnection[Any] | None = None

    @contextlib.contextmanager
    def begin(self) -> Iterator[Work]:
        """As `Place.begin`."""
        connection, trips = self._connected()
        connection.is_ours = True
        try:
            # The first statement takes the beginning along, whosever it is.
            yield Work(connection, self._execute)
            if connection.info.transaction_status != _IDLE:
                trips.commit()
        except BaseException as error:
            trips.roll_back()
            if isinstance(error, psycopg.OperationalError):
                raise translated(error, self.name) from error
            raise
        finally:
            connection.is_ours = False

    async def hear(self) -> None:
        """As `Place.hear`."""
        while True:
            try:
                if self._listening is None or self._listening.closed:
                    self._listening = await psycopg.AsyncConnection.connect(
                        patient(self.conninfo), autocommit=True
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
        self._connected()
        return drive(script, self._execute)

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

    def _execute(self, batch: Batch) -> list[Rows]:
        """Our own statements; what those of a handler raise is the handler's."""
        connection, trips = self._connection, self._trips
        assert connection is not None
        begin = connection.is_ours and connection.info.transaction_status == _IDLE
        try:
            return trips.run(batch, begin=begin)
        except psycopg.Error as error:
            raise translated(error, self.name) from error

    def _connected(self) -> tuple[_Connection, Trips]:
        if self._connection is None or self._connection.closed:
            self._connection = connect_as(_Connection, self.conninfo, self.name)
            # What a handler executes is in a transaction, always.
            self._connection.autocommit = False
            self._trips = Trips(self._connection)
        return self._connection, self._trips


class _Connection(psycopg.Connection[Any]):
    """One whose transaction nobody else ends while it is *ours*."""

    is_ours = False

    def commit(self) -> None:
        """Refused to a handler."""
        self._check("commit")
        super().commit()

    def rollback(self) -> None:
        """Refused to a handler."""
        self._check("rollback")
        super().rollback()

    def _check(self, word: str) -> None:
        if self.is_ours:
            raise psycopg.ProgrammingError(
                f"a handler called {word}() on the inbox's connection, whose transaction also says "
                "that the event was handled: it is committed when the handler returns; for a part "
                "that may be undone use connection.transaction()"
            )
