"""Dry runs over SQLAlchemy: one connection for each engine, of which nothing is ever committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moreton.strangler.agent.recording import Recording, current, explained
from moreton.strangler.agent.watching.patching import around

_SAVEPOINT = "moreton_dry_run"


def install(engine: Any) -> None:
    """From now on the engines of this class hand out pinned connections to dry runs."""
    around(engine, "raw_connection", _raw_connection)


class Pinned:
    """Looks like a connection of a pool: a commit of it is a savepoint, and it is never given back.

    So that what a dry run wrote can be read by the same run, whatever sessions it opens.
    """

    def __init__(self, real: Any) -> None:
        self.real = real
        if getattr(real, "autocommit", None) is True:
            self._run("BEGIN")
        # Never released: to release the first one of a transaction of SQLite is to commit.
        self._run(f"SAVEPOINT {_SAVEPOINT}_base")
        self._run(f"SAVEPOINT {_SAVEPOINT}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def commit(self) -> None:
        """Nothing before this is taken back by a rollback of the run itself."""
        self._run(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        self._run(f"SAVEPOINT {_SAVEPOINT}")

    def rollback(self) -> None:
        """Back to the last commit."""
        self._run(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")

    def close(self) -> None:
        """What was not committed goes; the connection stays."""
        self.rollback()

    def _close_special(self, **_: Any) -> None:
        """As `close`; the transaction was closed before."""

    def undo(self) -> None:
        """Take all of it back, and give the connection back."""
        try:
            self.real.rollback()
        finally:
            self.real.close()

    def _run(self, sql: str) -> None:
        with explained():
            cursor = self.real.cursor()
            try:
                cursor.execute(sql)
            finally:
                cursor.close()


def is_pinned(recording: Recording, connection: Any) -> bool:
    """Whether the *connection* of SQLAlchemy is one that is taken back."""
    return id(getattr(connection, "_dbapi_connection", None)) in recording.taken_back


def _raw_connection(method: Callable[[Any], Any], engine: Any) -> Any:
    recording = current()
    if recording is None or not recording.dry:
        return method(engine)
    with recording.lock:
        pinned = recording.pins.get(id(engine))
        if pinned is None:
            pinned = recording.pins[id(engine)] = Pinned(method(engine))
            recording.taken_back[id(pinned)] = pinned
            recording.undo.append(pinned.undo)
        return pinned
