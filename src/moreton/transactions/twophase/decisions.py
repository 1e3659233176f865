"""The decisions of two-phase commits, on disk: the one place that says what a transaction is.

Presumed abort: only commits are written, and aborts of transactions that nobody decided about. The
first decision about a transaction is the only one. A decision to commit is kept until every
participant has carried it out; an abort, and what a person decided, for `ABORTS_KEPT`, so that a
coordinator that was frozen meanwhile, or a participant that was away, still finds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.transactions.databases import Database, open_database
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.twophase.core.doubts import Decision

ABORTS_KEPT = timedelta(days=7)
_LOG_ID_CHARS = 12
_READ_AT_ONCE = 500
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS moreton_decision_log (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS moreton_decision (
    id TEXT PRIMARY KEY CHECK (id <> ''),
    decision TEXT NOT NULL,
    marks TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    by_hand TEXT NOT NULL DEFAULT ''
)""",
    "CREATE INDEX IF NOT EXISTS moreton_decision_at ON moreton_decision (decision, at_ms)",
)

_decide = Failpoint("twophase.decide")
_decided = Failpoint("twophase.decided")


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision; *marks* tell the fate of each participant's part."""

    transaction_id: str
    decision: Decision
    marks: Mapping[str, str]
    at_ms: int
    by_hand: str = ""


class DecisionLog:
    """The decisions in *database*; many coordinators and resolvers may share them."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        fresh = new_id(self._clock.wall(), system_rng())[-_LOG_ID_CHARS:]
        with database.transaction() as session:
            for statement in _SCHEMA:
                session.run(statement)
            session.run(
                "INSERT INTO moreton_decision_log (one, id) VALUES (1, ?) ON CONFLICT DO NOTHING",
                fresh,
            )
            ((self.log_id,),) = session.rows("SELECT id FROM moreton_decision_log")

    def commit(self, transaction_id: str, marks: Mapping[str, str]) -> Decision:
        """Decide to commit, unless there is a decision; which one it is."""
        _decide()
        decision = self._decide(transaction_id, Decision.COMMIT, marks)
        _decided()
        return decision

    def abort(self, transaction_id: str, *, by_hand: str = "") -> Decision:
        """Decide to roll back, unless there is a decision; which one it is."""
        return self._decide(transaction_id, Decision.ABORT, {}, by_hand)

    def find(self, transaction_ids: Iterable[str]) -> dict[str, Decided]:
        """The decisions about *transaction_ids*; what is not there is not decided."""
        ids = list(dict.fromkeys(transaction_ids))
        found: dict[str, Decided] = {}
        for start in range(0, len(ids), _READ_AT_ONCE):
            part = ids[start : start + _READ_AT_ONCE]
            marks = ", ".join("?" * len(part))
            for row in self._database.rows(
                "SELECT id, decision, marks, at_ms, by_hand "  # noqa: S608 - placeholders alone
                f"FROM moreton_decision WHERE id IN ({marks})",
                *part,
            ):
                found[row[0]] = _decided_of(row)
        return found

    def commits(self, *, older_than: timedelta, limit: int = 1000) -> list[Decided]:
        """Decisions to commit that nobody has said to be carried out, the oldest first."""
        rows = self._database.rows(
            "SELECT id, decision, marks, at_ms, by_hand FROM moreton_decision "
            "WHERE decision = 'commit' AND at_ms <= ? ORDER BY at_ms LIMIT ?",
            self._now_ms() - older_than // timedelta(milliseconds=1), limit,
        )  # fmt: skip
        return [_decided_of(row) for row in rows]

    def forget(self, transaction_ids: Iterable[str]) -> None:
        """Remove the decisions of transactions that every participant has carried out."""
        ids = list(transaction_ids)
        for start in range(0, len(ids), _READ_AT_ONCE):
            part = ids[start : start + _READ_AT_ONCE]
            marks = ", ".join("?" * len(part))
            self._database.run(
                f"DELETE FROM moreton_decision WHERE id IN ({marks})",  # noqa: S608 - as above
                *part,
            )

    def forget_aborts(self, *, older_than: timedelta = ABORTS_KEPT) -> int:
        """Remove decisions to roll back from so long ago; how many."""
        return self._database.run(
            "DELETE FROM moreton_decision WHERE decision = 'abort' AND at_ms < ?",
            self._now_ms() - older_than // timedelta(milliseconds=1),
        )

    def is_old(self, decided: Decided) -> bool:
        """Whether nobody comes any more who would have to know it."""
        return decided.at_ms < self._now_ms() - ABORTS_KEPT // timedelta(milliseconds=1)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def _decide(
        self,
        transaction_id: str,
        wanted: Decision,
        marks: Mapping[str, str],
        by_hand: str = "",
    ) -> Decision:
        new = self._database.run(
            "INSERT INTO moreton_decision (id, decision, marks, at_ms, by_hand) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            transaction_id, str(wanted), json.dumps(dict(marks)), self._now_ms(), by_hand,
        )  # fmt: skip
        if new:
            return wanted
        found = self.find([transaction_id])
        if found:
            return found[transaction_id].decision
        # Removed meanwhile. Nobody commits but the coordinator, so that it lost to an abort; who
        # aborts lost to a commit that all participants have carried out.
        return Decision.ABORT if wanted is Decision.COMMIT else Decision.COMMIT

    def _now_ms(self) -> int:
        return int(self._clock.wall().timestamp() * 1000)


def open_decisions(url: str) -> DecisionLog:
    """The decisions in the database at *url*: `sqlite:///file`, `postgresql://…`."""
    return DecisionLog(open_database(url))


def _decided_of(row: tuple[str, str, str, int, str]) -> Decided:
    name, decision, marks, at_ms, by_hand = row
    return Decided(name, Decision(decision), json.loads(marks), at_ms, by_hand)
