"""Wakes a relay as soon as something was committed, without a word in the transaction itself.

A `NOTIFY` within a transaction makes all commits of a PostgreSQL wait for each other. A bell is
rung after the commit, and a thread of its own says so, once for many rings. A relay that hears
nothing finds the events at its next poll all the same.
"""

from __future__ import annotations

import contextlib
import os
from threading import Event, Lock, Thread

from moreton.kernel.errors import MoretonError
from moreton.transactions.databases.errors import DriverMissing
from moreton.transactions.databases.postgres import Connection, connect, database_name

try:
    import psycopg
except ImportError as missing:
    raise DriverMissing from missing

CHANNEL = "moreton_outbox"
# At most so often, however many transactions commit.
_APART_SECONDS = 0.005
_AGAIN_SECONDS = 1.0


class Bell:
    """Rings the relays of the PostgreSQL at *database*; give it to an `Outbox`, or `ring` it.

    Safe between threads; a process that was forked off gets a thread of its own.
    """

    def __init__(self, database: str) -> None:
        self._conninfo = database
        self._name = database_name(database)
        self._lock = Lock()
        self._rung = Event()
        self._closed = False
        self._process = 0
        self.rings = self.notifications = 0

    def ring(self) -> None:
        """Something was committed. Never fails, never waits."""
        self.rings += 1
        if self._process != os.getpid():
            self._start()
        self._rung.set()

    def close(self) -> None:
        """Stop the thread after what was rung."""
        self._closed = True
        self._rung.set()

    def _start(self) -> None:
        with self._lock:
            if self._process == os.getpid():
                return
            self._process = os.getpid()
            self._rung = Event()
            Thread(target=self._work, name="moreton-bell", daemon=True).start()

    def _work(self) -> None:
        connection: Connection | None = None
        pause = Event()
        while not self._closed:
            self._rung.wait()
            self._rung.clear()
            try:
                connection = connection or connect(self._conninfo, self._name)
                connection.execute(f"NOTIFY {CHANNEL}".encode())
                self.notifications += 1
                pause.wait(_APART_SECONDS)
            except (psycopg.Error, MoretonError):
                if connection is not None:
                    connection.close()
                connection = None
                pause.wait(_AGAIN_SECONDS)
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
