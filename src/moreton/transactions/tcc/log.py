"""The log of TCC transactions: one row each, in SQLite or PostgreSQL.

A decision is an update of the row while it is being tried, so that of two processes that decide
about one transaction only one does. *next_ms* is when somebody who recovers may take it up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moreton.kernel.time import Clock, SystemClock
from moreton.transactions.databases import Database
from moreton.transactions.databases.database import Row
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.tcc.core.machine import State

# A payload is what a participant needs to know, not the data itself.
PAYLOADS_CHARS_MAX = 1024 * 1024
_TABLE = "moreton_tcc"
_OPEN = "state IN ('trying', 'confirming', 'cancelling')"
_SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS {_TABLE} (
    id TEXT PRIMARY KEY CHECK (id <> ''),
    state TEXT NOT NULL,
    branches TEXT NOT NULL,
    pending TEXT NOT NULL,
    trouble TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    began_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    next_ms BIGINT NOT NULL
)""",
    f"CREATE INDEX IF NOT EXISTS {_TABLE}_open ON {_TABLE} (next_ms) WHERE {_OPEN}",
)
_COLUMNS = "id, state, branches, pending, trouble, attempts, began_ms, expires_ms"

_begin = Failpoint("tcc.begin")
_begun = Failpoint("tcc.begun")
_decide = Failpoint("tcc.decide")
_decided = Failpoint("tcc.decided")
_end = Failpoint("tcc.end")
_ended = Failpoint("tcc.ended")


@dataclass(frozen=True, slots=True)
class Record:
    """What the log knows of a transaction."""

    transaction_id: str
    state: State
    branches: Mapping[str, Any]
    pending: Sequence[str]
    trouble: Mapping[str, str]
    attempts: int
    began_ms: int
    expires_ms: int


class TccLog:
    """The transactions in *database*; others may use it at the same time."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        with database.transaction() as session:
            for statement in _SCHEMA:
                session.run(statement)

    def begin(
        self, transaction_id: str, branches: Mapping[str, Any], expires_in: timedelta
    ) -> Record | None:
        """Write that a transaction begins; the record of one that did before under the same id."""
        text = _payloads(branches)
        now = self.now_ms()
        expires = now + expires_in // timedelta(milliseconds=1)
        _begin()
        new = self._database.run(
            f"INSERT INTO {_TABLE} ({_COLUMNS}, next_ms) "  # noqa: S608 - our own names
            "VALUES (?, 'trying', ?, ?, '{}', 0, ?, ?, ?) ON CONFLICT DO NOTHING",
            transaction_id, text, json.dumps(list(branches)), now, expires, expires,
        )  # fmt: skip
        _begun()
        return None if new else self.find(transaction_id)

    def decide(self, transaction_id: str, wanted: State, lease: timedelta) -> State:
        """Decide for *wanted* unless there is a decision; which one it is now.

        A transaction that the log has forgotten, or that has expired, is cancelled.
        """
        now = self.now_ms()
        in_time = "AND expires_ms > ?" if wanted is State.CONFIRMING else "AND ? > 0"
        _decide()
        changed = self._database.run(
            f"UPDATE {_TABLE} SET state = ?, next_ms = ? "  # noqa: S608 - our own names
            f"WHERE id = ? AND state = 'trying' {in_time}",
            str(wanted), now + lease // timedelta(milliseconds=1), transaction_id, now,
        )  # fmt: skip
        _decided()
        if changed:
            return wanted
        found = self.find(transaction_id)
        if found is None:
            return State.CANCELLED
        if found.state is State.TRYING:
            return self.decide(transaction_id, State.CANCELLING, lease)
        return found.state

    def note(
        self,
        transaction_id: str,
        pending: Sequence[str],
        trouble: Mapping[str, str],
        wait: timedelta,
    ) -> None:
        """Keep what is left to do, for who takes it up after *wait*."""
        self._database.run(
            f"UPDATE {_TABLE} SET pending = ?, trouble = ?, "  # noqa: S608 - our own names
            "attempts = attempts + 1, next_ms = ? "
            "WHERE id = ? AND state IN ('confirming', 'cancelling')",
            json.dumps(list(pending)), json.dumps(dict(trouble)),
            self.now_ms() + wait // timedelta(milliseconds=1), transaction_id,
        )  # fmt: skip

    def end(self, transaction_id: str, state: State, trouble: Mapping[str, str]) -> None:
        """Write that all was done; *trouble* says why it was cancelled."""
        _end()
        self._database.run(
            f"UPDATE {_TABLE} SET state = ?, pending = '[]', trouble = ? "  # noqa: S608 - as above
            f"WHERE id = ? AND {_OPEN}",
            str(state), json.dumps(dict(trouble)), transaction_id,
        )  # fmt: skip
        _ended()

    def claim(self, limit: int, lease: timedelta) -> list[Record]:
        """Up to *limit* transactions that nobody is at, for *lease*."""
        now = self.now_ms()
        with self._database.transaction() as session:
            rows = session.rows(
                f"UPDATE {_TABLE} SET next_ms = ? WHERE id IN ("  # noqa: S608 - our own names
                f"SELECT id FROM {_TABLE} WHERE {_OPEN} AND next_ms <= ? "
                f"ORDER BY next_ms LIMIT ? {self._database.skip_locked}) RETURNING {_COLUMNS}",
                now + lease // timedelta(milliseconds=1), now, limit,
            )  # fmt: skip
        return [_record(row) for row in rows]

    def release(self, transaction_id: str) -> None:
        """Let whoever recovers take it up at once."""
        self._database.run(
            f"UPDATE {_TABLE} SET next_ms = 0 WHERE id = ? AND {_OPEN}",  # noqa: S608 - as above
            transaction_id,
        )

    def find(self, transaction_id: str) -> Record | None:
        """What is known of a transaction."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM {_TABLE} WHERE id = ?",  # noqa: S608 - our own names
            transaction_id,
        )
        return _record(rows[0]) if rows else None

    def unfinished(self, limit: int = 1000) -> list[Record]:
        """Those that are not at their end, the oldest first."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM {_TABLE} WHERE {_OPEN} "  # noqa: S608 - our own names
            "ORDER BY began_ms LIMIT ?",
            limit,
        )
        return [_record(row) for row in rows]

    def forget(self, *, older_than: timedelta) -> int:
        """Remove the records of transactions that ended, and began longer ago; how many."""
        return self._database.run(
            f"DELETE FROM {_TABLE} WHERE began_ms < ? AND NOT {_OPEN}",  # noqa: S608 - as above
            self.now_ms() - older_than // timedelta(milliseconds=1),
        )

    def close(self) -> None:
        """Let go of the database. May be called again."""
        self._database.close()

    def now_ms(self) -> int:
        """The calendar time: what is kept outlives a process, and its monotonic clock."""
        return int(self._clock.wall().timestamp() * 1000)


def _payloads(branches: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(branches))
    except (TypeError, ValueError) as error:
        raise TypeError(f"a payload cannot be kept as JSON, {error}: give plain values") from error
    if len(text) > PAYLOADS_CHARS_MAX:
        raise ValueError(
            f"the payloads have {len(text)} letters as JSON: give at most {PAYLOADS_CHARS_MAX}, "
            "and the key of where the rest is"
        )
    return text


def _record(row: Row) -> Record:
    name, state, branches, pending, trouble, attempts, began_ms, expires_ms = row
    return Record(
        name, State(state), json.loads(branches), json.loads(pending), json.loads(trouble),
        attempts, began_ms, expires_ms,
    )  # fmt: skip
