"""A database of SQLAlchemy's; handlers get a `Session`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from moreton.transactions.databases.errors import DatabaseUnavailable
from moreton.transactions.outbox.errors import UnknownConnection
from moreton.transactions.outbox.places.place import Place, Work, has_failed
from moreton.transactions.outbox.tables.dialect import POSTGRES, SQLITE
from moreton.transactions.outbox.writers import writer_of


class SqlAlchemyPlace(Place):
    """What *source* connects to: an engine, or a `sessionmaker` that is bound to one."""

    def __init__(self, source: Engine | sessionmaker[Session]) -> None:
        self._make = source if isinstance(source, sessionmaker) else sessionmaker(source)
        engine = self._make.kw["bind"]
        if not isinstance(engine, Engine) or engine.dialect.name not in {"sqlite", "postgresql"}:
            raise UnknownConnection(given=source)
        self._engine = engine
        self.dialect = POSTGRES if engine.dialect.name == "postgresql" else SQLITE
        self.name = f"database {engine.url.render_as_string(hide_password=True)}"

    @contextlib.contextmanager
    def begin(self) -> Iterator[Work]:
        """As `Place.begin`."""
        try:
            with self._make() as session, session.begin():
                yield Work(session, writer_of(session).batch)
                connection = session.connection()
                if has_failed(connection.connection.driver_connection):
                    # It raises what every statement does that comes after the one that failed.
                    connection.exec_driver_sql("SELECT 1")
        except (OperationalError, InterfaceError) as error:
            reason = str(error.orig).strip()
            raise DatabaseUnavailable(database=self.name, reason=reason) from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            reason = str(error.orig).strip()
            raise DatabaseUnavailable(database=self.name, reason=reason) from error

    def works(self) -> bool:
        """As `Place.works`."""
        try:
            with self.begin() as work:
                work.given.connection().exec_driver_sql("SELECT 1")
        except (SQLAlchemyError, DatabaseUnavailable):
            return False
        return True

    def close(self) -> None:
        """As `Place.close`."""
        self._engine.dispose()
