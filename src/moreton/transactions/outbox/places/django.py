"""A database of Django's; handlers use the ORM, and get the connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction

from moreton.transactions.databases.errors import DatabaseUnavailable
from moreton.transactions.outbox.places.place import Place, Work, has_failed
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.writers import writer_of


class DjangoPlace(Place):
    """The database that `settings.DATABASES` calls *using*; a transaction is an `atomic` block."""

    def __init__(self, using: str = "default") -> None:
        self.using = using
        self.name = f"Django's database {using!r}"

    @property
    def dialect(self) -> Dialect:  # type: ignore[override]
        """That of the connection."""
        return writer_of(connections[self.using], atomic=False).dialect

    @contextlib.contextmanager
    def begin(self) -> Iterator[Work]:
        """As `Place.begin`."""
        connection = connections[self.using]
        try:
            connection.close_if_unusable_or_obsolete()
            with transaction.atomic(using=self.using):
                yield Work(connection, writer_of(connection).batch)
                if connection.needs_rollback or has_failed(connection.connection):
                    _say_why(connection)
        except (OperationalError, InterfaceError) as error:
            connection.errors_occurred = True
            raise DatabaseUnavailable(database=self.name, reason=str(error).strip()) from error

    def works(self) -> bool:
        """As `Place.works`."""
        try:
            with self.begin() as work, work.given.cursor() as cursor:
                cursor.execute("SELECT 1")
        except (DatabaseError, InterfaceError, DatabaseUnavailable):
            return False
        return True

    def close(self) -> None:
        """As `Place.close`."""
        connections[self.using].close()


def _say_why(connection: Any) -> None:
    """Raise what every statement raises that comes after the one that failed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
