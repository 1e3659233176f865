"""A PostgreSQL database of records."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from typing import Any, LiteralString, TypeVar

from moreton.kernel.errors import MoretonError
from moreton.transactions.databases.database import Row
from moreton.transactions.databases.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    DriverMissing,
)

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as missing:
    raise DriverMissing from missing

Connection = psycopg.Connection[Any]
C = TypeVar("C", bound=Connection)
# A record is short: few connections serve many threads.
CONNECTIONS_MAX = 8
# A host that vanishes says nothing, and the system waits a quarter of an hour for what it was sent,
# two hours where nothing is under way. What a URL says of these goes before it.
PATIENCE = {
    "connect_timeout": "5",  # seconds
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",  # milliseconds; shorter than a lease
}
# A role may be set to answer before the log is on disk; what is kept here must not be lost. And for
# two hours a server holds the locks of a client whose host vanished, where nobody set another time.
SESSION = (
    "SELECT set_config(name, wanted, false) FROM (VALUES ('synchronous_commit', 'on'), "
    "('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), "
    "('tcp_keepalives_count', '3'), ('tcp_user_timeout', '20000')) AS ours (name, wanted) "
    "WHERE current_setting(name, true) IN ('off', 'local', '7200', '75', '9', '0')"
)


# A role may be set to another level, by which what several change at once would fail.
READ_COMMITTED = "SET default_transaction_isolation = 'read committed'"


class Connections:
    """Connections that are kept for the next who needs one, *idle_max* at most.

    *setup* is a statement for each new one.
    """

    def __init__(
        self, conninfo: str, *, idle_max: int = CONNECTIONS_MAX, setup: LiteralString = ""
    ) -> None:
        self._conninfo = conninfo
        self._setup = setup
        self.name = database_name(conninfo)
        self._idle_max = idle_max
        self._lock = Lock()
        self._idle: list[Connection] = []

    def take(self) -> Connection:
        """One that works: those of a server that restarted meanwhile are thrown away."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect()
            if is_usable(connection):
                return connection
            connection.close()

    def _connect(self) -> Connection:
        connection = connect(self._conninfo, self.name)
        if self._setup:
            try:
                connection.execute(self._setup)
            except psycopg.Error as error:
                connection.close()
                raise translated(error, self.name) from error
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep *connection*, or end it if it is broken or in a transaction."""
        clean = (
            not connection.closed
            and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        )
        with self._lock:
            kept = clean and len(self._idle) < self._idle_max
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()

    def close(self) -> None:
        """End those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class PostgresDatabase:
    """Up to `CONNECTIONS_MAX` connections, made when they are needed."""

    skip_locked = "FOR UPDATE SKIP LOCKED"

    def __init__(self, conninfo: str) -> None:
        self._connections = Connections(conninfo, setup=READ_COMMITTED)
        self._places = BoundedSemaphore(CONNECTIONS_MAX)

    def run(self, sql: str, *values: object) -> int:
        """As `Session.run`."""
        with self._borrowed() as connection:
            return _Session(connection).run(sql, *values)

    def rows(self, sql: str, *values: object) -> list[Row]:
        """As `Session.rows`."""
        with self._borrowed() as connection:
            return _Session(connection).rows(sql, *values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[_Session]:
        """As `Database.transaction`."""
        with self._borrowed() as connection, connection.transaction():
            yield _Session(connection)

    def close(self) -> None:
        """As `Database.close`."""
        self._connections.close()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        with self._places:
            connection = self._connections.take()
            try:
                yield connection
            except psycopg.Error as error:
                raise translated(error, self._connections.name) from error
            finally:
                self._connections.give_back(connection)


class _Session:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *values: object) -> int:
        return self._connection.execute(placeholders(sql), values).rowcount

    def rows(self, sql: str, *values: object) -> list[Row]:
        return self._connection.execute(placeholders(sql), values).fetchall()


def connect(conninfo: str, name: str) -> Connection:
    """A connection on which each statement commits itself, durably."""
    return connect_as(psycopg.Connection[Any], conninfo, name)


def connect_as(kind: type[C], conninfo: str, name: str) -> C:
    """As `connect`, of *kind*."""
    try:
        connection = kind.connect(patient(conninfo), autocommit=True)
        connection.execute(SESSION)
    except psycopg.Error as error:
        raise translated(error, name) from error
    return connection


def patient(conninfo: str) -> str:
    """*conninfo* with `PATIENCE`, where it says nothing else. Raises `psycopg.Error`."""
    given = conninfo_to_dict(conninfo)
    return make_conninfo(conninfo, **{name: PATIENCE[name] for name in PATIENCE.keys() - given})


def is_usable(connection: Connection) -> bool:
    """Whether nothing says that the server has ended *connection*; costs no trip to it."""
    if connection.closed:
        return False
    with contextlib.suppress(psycopg.Error):
        # What a server says on its own to an idle connection is that it ends.
        connection.pgconn.consume_input()
    return connection.pgconn.status == psycopg.pq.ConnStatus.OK


def database_name(conninfo: str) -> str:
    """The database of *conninfo* without its password."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"conninfo cannot be read, {reason}: give postgresql://host/name"
        ) from None
    return f"PostgreSQL database {parts.get('dbname', '')!s} at {parts.get('host', 'localhost')!s}"


@lru_cache(maxsize=256)
def placeholders(sql: str) -> bytes:
    """*sql* with the placeholders that psycopg has."""
    return sql.replace("?", "%s").encode()


def translated(error: psycopg.Error, name: str) -> MoretonError:
    """What *error* means for who uses the database *name*."""
    reason = " ".join(str(error).split()) or type(error).__name__
    # Without a state the connection failed; 08, 57P: it went; 40, 55P03: others were first.
    state = error.sqlstate or ""
    if not state or state.startswith(("08", "57P", "40", "55P03", "53")):
        return DatabaseUnavailable(database=name, reason=reason)
    return DatabaseRefused(database=name, reason=reason)
