"""Each action of a distributed transaction takes effect once, and never after it was undone.

Messages are repeated, overtake each other and arrive after they were given up. A participant asks
the barrier first, in the transaction of its own database that makes the change:

- a repeated action, confirmation or undoing does nothing, and gets the first one's result;
- an undoing whose action never came does nothing, and keeps that action out for good;
- an action that arrives after its undoing does nothing.

Both are committed together, or neither: the barrier is never ahead of what it guards. In one line,
in SQLite and in PostgreSQL, here with plain DB-API; `moreton.transactions.barrier.sqlalchemy` and
`moreton.transactions.barrier.django` do the same::

    if enter(connection, call):
        connection.execute("UPDATE accounts SET cents = cents - ? WHERE id = ?", (cents, id))
    connection.commit()
"""

from moreton.transactions.barrier.call import Act, Call
from moreton.transactions.barrier.core import SCHEMA, Verdict
from moreton.transactions.barrier.dbapi import (
    Passage,
    create_table,
    enter,
    enter_async,
    forget,
)
from moreton.transactions.barrier.errors import ActsCollide, BarrierMissing, NotInTransaction

__all__ = [
    "SCHEMA",
    "Act",
    "ActsCollide",
    "BarrierMissing",
    "Call",
    "NotInTransaction",
    "Passage",
    "Verdict",
    "create_table",
    "enter",
    "enter_async",
    "forget",
]
