"""The participant: begins work on a file, prepares it, and ends what was prepared."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from threading import Lock

from moreton.kernel.arguments import check_duration
from moreton.kernel.time import Clock, SystemClock
from moreton.transactions.databases.sqlite import connect, translated
from moreton.transactions.twophase.core.doubts import Prepared
from moreton.transactions.twophase.core.names import check_branch
from moreton.transactions.twophase.errors import HeldByPrepared
from moreton.transactions.twophase.participant import Fate
from moreton.transactions.twophase.sqlite.branch import SqliteBranch
from moreton.transactions.twophase.sqlite.changes import drop, put_in_place
from moreton.transactions.twophase.sqlite.connection import (
    SAVEPOINT,
    WorkConnection,
    open_work,
    schema_version,
)
from moreton.transactions.twophase.sqlite.schema import (
    LOCK_PREFIX,
    SCHEMA,
    lock_triggers,
    quoted,
    tables,
)

_PATIENCE = timedelta(seconds=5)
_LOOK_AGAIN_SECONDS = 0.005
# As long as anybody may ask what became of a transaction.
_FINISHED_KEPT = timedelta(days=7)
_IDLE_MAX = 4


class SqliteParticipant:
    """The SQLite file at *path*; the first use makes it a participant.

    Its tables get triggers that refuse writes while it waits for a decision; `uninstall` takes them
    off. *patience* is how long `begin` waits for another writer, or for the decision about an
    earlier transaction. Cost: two commits of the file for each transaction, and one statement for
    each touched row and each of its columns.
    """

    def __init__(
        self,
        name: str,
        path: Path | str,
        *,
        patience: timedelta = _PATIENCE,
        foreign_keys: bool = True,
        clock: Clock | None = None,
    ) -> None:
        check_branch(name)
        check_duration("patience", patience)
        self.name = name
        self.path = Path(path)
        self._patience = patience
        self._foreign_keys = foreign_keys
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._idle: list[WorkConnection] = []
        self._plain_idle: list[sqlite3.Connection] = []
        self._installed = -1
        # SQLite's own waiting is in steps of up to 0.1 s: threads of one process take turns.
        self._turn = Lock()
        self._turn_of: str | None = None

    def begin(self, gid: str) -> SqliteBranch:
        """As `Participant.begin`; from here on nobody else can write to the file.

        Raises `HeldByPrepared` and `DatabaseUnavailable` when that lasts.
        """
        until = time.monotonic() + self._patience.total_seconds()
        # Whose turn never ends has left the file to the resolver: then the file itself says.
        in_turn = self._turn.acquire(timeout=self._patience.total_seconds())
        try:
            branch = self._begin_until(until, gid)
        except BaseException:
            if in_turn:
                self._next_turn()
            raise
        with self._lock:
            self._turn_of = gid
        return branch

    def end_turn(self, gid: str) -> None:
        """The work *gid* has ended: the next may begin."""
        with self._lock:
            if self._turn_of != gid:
                return
            self._turn_of = None
        self._next_turn()

    def _next_turn(self) -> None:
        # Turns are only for being fast, and one may have been given twice: the file's lock counts.
        with contextlib.suppress(RuntimeError):
            self._turn.release()

    def _begin_until(self, until: float, gid: str) -> SqliteBranch:
        while True:
            connection = self._take()
            try:
                held = self._begin(connection)
            except BaseException as error:
                connection.close()
                if isinstance(error, sqlite3.Error):
                    raise translated(error, self.path) from error
                raise
            if held == "":
                return SqliteBranch(self, connection, gid)
            if held is None:  # the schema changed since it was looked at
                connection.close()
                continue
            self.give_back(connection)
            if time.monotonic() >= until:
                raise HeldByPrepared(participant=self.name, gid=held)
            time.sleep(_LOOK_AGAIN_SECONDS)

    def prepared(self) -> list[Prepared]:
        """As `Participant.prepared`: one at most, as a file that waits takes nothing else."""
        now = self.now_ms()
        with self._plain() as connection:
            rows = connection.execute("SELECT gid, at_ms FROM moreton_prepared").fetchall()
        return [
            Prepared(self.name, gid, timedelta(milliseconds=max(0, now - at_ms)), str(self.path))
            for gid, at_ms in rows
        ]

    def commit(self, gid: str) -> bool:
        """As `Participant.commit`."""
        done = self._finish(gid, commit=True)
        self.end_turn(gid)
        return done

    def rollback(self, gid: str) -> bool:
        """As `Participant.rollback`."""
        done = self._finish(gid, commit=False)
        self.end_turn(gid)
        return done

    def fates(self, marks: Mapping[str, str]) -> Mapping[str, Fate]:
        """As `Participant.fates`; known for seven days."""
        found = dict.fromkeys(marks, Fate.UNKNOWN)
        with self._plain() as connection:
            for gid in marks:
                row = connection.execute(
                    "SELECT committed FROM moreton_finished WHERE gid = ?", (gid,)
                ).fetchone()
                if row is not None:
                    found[gid] = Fate.COMMITTED if row[0] else Fate.ABORTED
                elif connection.execute(
                    "SELECT 1 FROM moreton_prepared WHERE gid = ?", (gid,)
                ).fetchone():
                    found[gid] = Fate.PREPARED
        return found

    def uninstall(self) -> None:
        """Take everything of Moreton's out of the file. Raises `HeldByPrepared` while it waits."""
        waiting = self.prepared()
        if waiting:
            raise HeldByPrepared(participant=self.name, gid=waiting[0].gid)
        with self._plain() as connection, _writing(connection):
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall():
                if name.startswith(LOCK_PREFIX):
                    connection.execute(f"DROP TRIGGER {quoted(name)}")
            for table in ("_prepared", "_prepared_row", "_prepared_value", "_finished"):
                connection.execute(f"DROP TABLE IF EXISTS moreton{table}")
        self._installed = -1

    def close(self) -> None:
        """As `Participant.close`."""
        with self._lock:
            idle = [*self._idle, *self._plain_idle]
            self._idle, self._plain_idle = [], []
        for connection in idle:
            connection.close()

    def give_back(self, connection: WorkConnection) -> None:
        """A connection that nobody uses any more."""
        with self._lock:
            kept = len(self._idle) < _IDLE_MAX
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()

    def now_ms(self) -> int:
        """The calendar time, as the file keeps it."""
        return int(self._clock.wall().timestamp() * 1000)

    def _take(self) -> WorkConnection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        self._install()
        try:
            return open_work(self.path, self.name, foreign_keys=self._foreign_keys)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def _begin(self, connection: WorkConnection) -> str | None:
        """Nothing if work can begin; the gid that the file waits for; `None`: open another one."""
        seconds = self._patience.total_seconds()
        connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        connection.execute("BEGIN IMMEDIATE -- moreton")
        row = connection.execute("SELECT gid FROM moreton_prepared").fetchone()
        if row is not None:
            connection.execute("ROLLBACK -- moreton")
            return str(row[0])
        if schema_version(connection) != connection.schema_version:
            return None
        connection.execute("INSERT INTO temp.moreton_open VALUES (1)")
        connection.execute(f"SAVEPOINT {SAVEPOINT}")
        connection.guard()
        return ""

    def _install(self) -> None:
        """Make the tables, and a lock on every table of the user's that has none yet."""
        with self._plain(install=False) as connection:
            if schema_version(connection) == self._installed:
                return
            with _writing(connection):
                for statement in SCHEMA:
                    connection.execute(statement)
                there = {
                    name
                    for (name,) in connection.execute(
                        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                    )
                }
                for table in tables(connection, self.name)[0]:
                    for name, sql in lock_triggers(table).items():
                        if name not in there:
                            connection.execute(sql)
            self._installed = schema_version(connection)

    def _finish(self, gid: str, *, commit: bool) -> bool:
        now = self.now_ms()
        with self._plain() as connection, _writing(connection):
            # The lock goes first: what follows is a write, too.
            found = connection.execute("DELETE FROM moreton_prepared WHERE gid = ?", (gid,))
            if not found.rowcount:
                return False
            if commit:
                known = {table.name: table for table in tables(connection, self.name)[0]}
                put_in_place(connection, gid, known)
            drop(connection, gid)
            connection.execute(
                "INSERT OR REPLACE INTO moreton_finished (gid, committed, at_ms) VALUES (?, ?, ?)",
                (gid, commit, now),
            )
            connection.execute(
                "DELETE FROM moreton_finished WHERE at_ms < ?",
                (now - _FINISHED_KEPT // timedelta(milliseconds=1),),
            )
        return True

    @contextlib.contextmanager
    def _plain(self, *, install: bool = True) -> Iterator[sqlite3.Connection]:
        """A connection without foreign keys and notes."""
        if install and self._installed < 0:
            self._install()
        with self._lock:
            connection = self._plain_idle.pop() if self._plain_idle else None
        try:
            if connection is None:
                connection = connect(self.path)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA fullfsync = ON")
            yield connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise translated(error, self.path) from error
            raise
        with self._lock:
            self._plain_idle.append(connection)


@contextlib.contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
