"""Several databases commit together, or none does: PostgreSQL's and SQLite's.

Use it where one program reaches several databases itself, and they must never disagree. Not where
they belong to several services: those should not hold each other's locks (a saga, or TCC); and not
where one database will do.

Guarantees: all participants commit, or none; the decision is on disk before the first one does;
after a kill at any moment the resolver ends what was left open, by what was decided, and rolls back
what was not. Until then what is in doubt keeps its locks: while the log, or a participant, is away,
others wait. Readers may see one database's part a moment before the other's. A participant whose
part somebody rolled back by hand is found and named, never passed over::

    two_phase = TwoPhase(
        open_decisions("sqlite:///decisions.db"),
        PostgresParticipant("orders", "postgresql://…"),
        SqliteParticipant("stock", "stock.db"),
    )

    with two_phase.begin() as work:
        work["orders"].execute("INSERT INTO orders (article) VALUES ('fig')")
        work["stock"].execute("UPDATE stock SET pieces = pieces - 1 WHERE article = 'fig'")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand
from moreton.transactions.twophase.coordinator import TwoPhase, Work
from moreton.transactions.twophase.core.doubts import Decision, Doubt, InDoubt, Prepared
from moreton.transactions.twophase.decisions import DecisionLog, open_decisions
from moreton.transactions.twophase.errors import Aborted
from moreton.transactions.twophase.participant import Participant
from moreton.transactions.twophase.resolver import Report, Resolver
from moreton.transactions.twophase.sqlite import SqliteParticipant

if TYPE_CHECKING:
    from moreton.transactions.twophase.postgres import PostgresParticipant

__all__ = [
    "Aborted",
    "Decision",
    "DecisionLog",
    "Doubt",
    "InDoubt",
    "Participant",
    "PostgresParticipant",
    "Prepared",
    "Report",
    "Resolver",
    "SqliteParticipant",
    "TwoPhase",
    "Work",
    "open_decisions",
]

# psycopg is there for those who have such a participant.
__getattr__ = on_demand(__name__, {"postgres": ["PostgresParticipant"]})
