"""How to write with whatever the business writes with: one writer per kind of connection.

Kinds are known by the packages of their classes, so that no driver is loaded for it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from typing import Any, TypeVar

from moreton.transactions.outbox.errors import NoTransaction, UnknownConnection
from moreton.transactions.outbox.tables.dialect import POSTGRES, SQLITE, Dialect
from moreton.transactions.outbox.tables.script import (
    Batch,
    Rows,
    Script,
    Statement,
    drive,
    drive_async,
)

T = TypeVar("T")
_MARK = re.compile(r"\?")
_IDLE = 0  # psycopg.pq.TransactionStatus.IDLE, libpq's PQTRANS_IDLE; psycopg2 has the same number
_WAITING = "moreton.outbox.waiting"
_DIALECTS = {"sqlite": SQLITE, "postgresql": POSTGRES}


@dataclass(frozen=True, slots=True)
class Writer:
    """Runs scripts on one connection, in its transaction."""

    dialect: Dialect
    one: Callable[[Statement], Rows]
    # Has a function called once the transaction is committed; `None` where nobody can say when.
    when_committed: Callable[[Callable[[], None]], None] | None = None

    def run(self, script: Script[T]) -> T:
        """What *script* comes to."""
        return drive(script, self.batch)

    def batch(self, batch: Batch) -> list[Rows]:
        """One statement after the other."""
        return [self.one(each) for each in batch]


@dataclass(frozen=True, slots=True)
class AsyncWriter:
    """As `Writer`, awaited."""

    dialect: Dialect
    one: Callable[[Statement], Awaitable[Rows]]
    when_committed: Callable[[Callable[[], None]], None] | None = None

    async def run(self, script: Script[T]) -> T:
        """What *script* comes to."""
        return await drive_async(script, self._batch)

    async def _batch(self, batch: Batch) -> list[Rows]:
        return [await self.one(each) for each in batch]


@lru_cache(maxsize=256)
def marked(sql: str) -> str:
    """*sql* with the marks that psycopg and Django have."""
    return sql.replace("?", "%s")


@lru_cache(maxsize=256)
def dollars(sql: str) -> str:
    """*sql* with the marks that PostgreSQL itself has."""
    places = count(1)
    return _MARK.sub(lambda _: f"${next(places)}", sql)


def writer_of(connection: Any, *, atomic: bool = True) -> Writer:
    """The writer for *connection*; *atomic*: refuse one that commits each statement by itself."""
    packages = _packages(connection)
    if "sqlite3" in packages:
        return _sqlite3(connection, atomic=atomic)
    if "sqlalchemy" in packages:
        return _sqlalchemy(connection)
    if "django" in packages or _is_django(connection):
        return _django(connection, atomic=atomic)
    if packages & {"psycopg", "psycopg2"} and "Async" not in type(connection).__name__:
        return _psycopg(connection, atomic=atomic)
    raise UnknownConnection(given=connection)


def writer_of_async(connection: Any) -> AsyncWriter:
    """The writer for an asynchronous *connection*."""
    packages = _packages(connection)
    if "psycopg" in packages and "Async" in type(connection).__name__:
        owner = getattr(connection, "connection", connection)
        if owner.autocommit and owner.info.transaction_status == _IDLE:
            raise NoTransaction

        async def one(statement: Statement) -> Rows:
            cursor = await owner.execute(marked(statement.sql), statement.values)
            return await cursor.fetchall() if cursor.description else []

        return AsyncWriter(POSTGRES, one)
    if "sqlalchemy" in packages and hasattr(connection, "run_sync"):

        async def synced(statement: Statement) -> Rows:
            found: Rows = await connection.run_sync(lambda sync: _sqlalchemy(sync).one(statement))
            return found

        session = getattr(connection, "sync_session", None)
        told = None if session is None else partial(_when_committed, session)
        return AsyncWriter(_DIALECTS[connection.get_bind().dialect.name], synced, told)
    raise UnknownConnection(given=connection)


def _packages(connection: Any) -> set[str]:
    return {each.__module__.partition(".")[0] for each in type(connection).__mro__}


def _sqlite3(connection: Any, *, atomic: bool) -> Writer:
    owner = getattr(connection, "connection", connection)
    by_itself = owner.isolation_level is None if _legacy(owner) else owner.autocommit is True
    if atomic and by_itself and not owner.in_transaction:
        raise NoTransaction
    return Writer(SQLITE, lambda each: owner.execute(each.sql, each.values).fetchall())


def _legacy(owner: Any) -> bool:
    # From Python 3.12 on a connection may be told by `autocommit`; -1 says that it was not.
    return getattr(owner, "autocommit", -1) == -1


def _psycopg(connection: Any, *, atomic: bool) -> Writer:
    owner = getattr(connection, "connection", connection)
    if atomic and owner.autocommit and owner.info.transaction_status == _IDLE:
        raise NoTransaction

    def one(statement: Statement) -> Rows:
        cursor = owner.cursor()
        cursor.execute(marked(statement.sql), statement.values)
        rows: Rows = cursor.fetchall() if cursor.description else []
        cursor.close()
        return rows

    return Writer(POSTGRES, one)


def _sqlalchemy(connection: Any) -> Writer:
    session = connection if hasattr(connection, "get_bind") else None
    # A session's connection is in the session's transaction, begun if there was none.
    while not hasattr(connection, "exec_driver_sql"):
        if not hasattr(connection, "connection"):
            raise UnknownConnection(given=connection)
        connection = connection.connection()
    dialect = _DIALECTS.get(connection.dialect.name)
    if dialect is None:
        raise UnknownConnection(given=connection)
    written = _MARKS[connection.dialect.paramstyle]

    def one(statement: Statement) -> Rows:
        found = connection.exec_driver_sql(written(statement.sql), tuple(statement.values))
        return [tuple(row) for row in found] if found.returns_rows else []

    return Writer(dialect, one, None if session is None else partial(_when_committed, session))


def _when_committed(session: Any, then: Callable[[], None]) -> None:
    """Call *then* once after the commit of *session*'s transaction, however often this is asked."""
    waiting: dict[Callable[[], None], None] | None = session.info.get(_WAITING)
    if waiting is None:
        from sqlalchemy import event  # noqa: PLC0415 - whoever has a session has loaded it

        # One listener each for as long as the session lives, which may be that of its program.
        waiting = session.info[_WAITING] = {}
        event.listen(session, "after_commit", _on_commit)
        event.listen(session, "after_rollback", _on_rollback)
    waiting[then] = None


def _on_commit(session: Any) -> None:
    if session.in_nested_transaction():
        return  # a savepoint is given up: nobody else sees anything yet
    waiting = session.info[_WAITING]
    found = list(waiting)
    waiting.clear()
    for then in found:
        then()


def _on_rollback(session: Any) -> None:
    session.info[_WAITING].clear()


def _is_django(connection: Any) -> bool:
    # `django.db.connection` is a proxy for the connection of this thread.
    return hasattr(connection, "in_atomic_block") and hasattr(connection, "vendor")


def _django(connection: Any, *, atomic: bool) -> Writer:
    dialect = _DIALECTS.get(getattr(connection, "vendor", ""))
    if dialect is None:
        raise UnknownConnection(given=connection)
    if atomic and not connection.in_atomic_block and connection.get_autocommit():
        raise NoTransaction

    def one(statement: Statement) -> Rows:
        with connection.cursor() as cursor:
            cursor.execute(marked(statement.sql), statement.values)
            return list(cursor.fetchall()) if cursor.description else []

    return Writer(dialect, one, connection.on_commit)


_MARKS: dict[str, Callable[[str], str]] = {
    "qmark": str,
    "format": marked,
    "pyformat": marked,
    "numeric_dollar": dollars,
}
