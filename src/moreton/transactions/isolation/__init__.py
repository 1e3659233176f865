"""What keeps transactions over several services apart, where no database does.

Between its steps a saga, or TCC, is seen by others: they read what is taken back later, overwrite
what they did not see, and come in another order than they were sent. Four countermeasures, each in
the participant's own transaction, with whatever it writes with: `sqlite3`, psycopg, SQLAlchemy,
Django; the methods that end in `_async` take psycopg's and SQLAlchemy's asynchronous connections.

- Others act on what is still to be confirmed or undone: `SemanticLock`, they queue for it.
- Two change a number that both had read: `Change`, add and subtract instead of overwriting.
- A later step overwrites what changed since an earlier one: `Reading`, look again before.
- Operations arrive in another order than they were decided in: `VersionFile`, done in order.

Use the weakest that will do: changes that commute hold nobody up, a lock holds up everybody. None
is needed where a single database's transaction does the whole work.

Guarantees: what is said here is committed with the participant's change, or not at all; a lock is
given in the order of asking, survives crashes, and a request that arrives after it was left does
nothing; two that come at once are told apart by the database::

    turn = SemanticLock("account-7").take(connection, owner=run.id)
    if not turn:
        connection.commit()  # it keeps its place
        raise Busy(turn)     # try again later
"""

from moreton.transactions.isolation.changes import Change
from moreton.transactions.isolation.errors import (
    Busy,
    CircleOfWaits,
    IsolationMissing,
    NoRow,
    QueueFull,
    ValueChanged,
)
from moreton.transactions.isolation.locks import SemanticLock, Turn, Waiting
from moreton.transactions.isolation.readings import Reading
from moreton.transactions.isolation.tables import install, schema
from moreton.transactions.isolation.versions import Operation, VersionFile

__all__ = [
    "Busy",
    "Change",
    "CircleOfWaits",
    "IsolationMissing",
    "NoRow",
    "Operation",
    "QueueFull",
    "Reading",
    "SemanticLock",
    "Turn",
    "ValueChanged",
    "VersionFile",
    "Waiting",
    "install",
    "schema",
]
