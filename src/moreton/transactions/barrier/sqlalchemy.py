"""The barrier on a session or connection of SQLAlchemy, whatever driver it has.

if enter(session, call):
    session.get(Account, id).cents -= cents

With an asynchronous session: `await session.run_sync(enter, call)`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from moreton.transactions.barrier.call import Call
from moreton.transactions.barrier.core import SCHEMA
from moreton.transactions.barrier.dbapi import Passage, Run, check_in_transaction, enter_by

__all__ = ["create_table", "enter"]


def enter(session: Session | Connection, call: Call) -> Passage:
    """As `moreton.transactions.barrier.enter`; a session's pending changes are sent first."""
    if isinstance(session, Session):
        # What they would conflict with is to show before the barrier is passed, not after.
        session.flush()
    connection = _connection(session)
    check_in_transaction(connection.connection.driver_connection)
    return enter_by(_runner(connection), call)


def create_table(session: Session | Connection) -> None:
    """Make the barrier's table if it is not there; *session* commits it."""
    _runner(_connection(session))(SCHEMA, ())


def _connection(session: Session | Connection) -> Connection:
    if isinstance(session, Session):
        return session.connection()
    if isinstance(session, Connection):
        return session
    raise TypeError(
        f"session is {session!r}: give a Session or a Connection; with asynchronous ones write "
        "await session.run_sync(enter, call)"
    )


def _runner(connection: Connection) -> Run:
    style = connection.dialect.paramstyle

    def run(sql: str, values: tuple[object, ...]) -> Any:
        return connection.exec_driver_sql(_marked(sql, style), values)

    return run


def _marked(sql: str, style: str) -> str:
    if style == "qmark":
        return sql
    if style == "numeric_dollar":
        first, *others = sql.split("?")
        return first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))
    return sql.replace("?", "%s")
