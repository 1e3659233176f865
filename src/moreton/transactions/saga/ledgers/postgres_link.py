"""One connection to PostgreSQL that comes back after the server does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors as pg_errors

from moreton.transactions.databases.postgres import READ_COMMITTED, SESSION, patient
from moreton.transactions.saga.errors import LedgerFailing


class Link:
    """Used by one thread at a time, which holds *lock*; made when it is first used, or broke."""

    def __init__(self, url: str, lock: Lock | None = None) -> None:
        self._url = url
        self.lock = lock or Lock()
        self._db: psycopg.Connection[Any] | None = None

    @property
    def where(self) -> str:
        """The database without its password."""
        parts = urlsplit(self._url)
        return f"{parts.hostname or 'localhost'}{parts.path}"

    @contextlib.contextmanager
    def held(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection, each statement a transaction of its own; the lock is held by us."""
        with self.lock, self.taken() as db:
            yield db

    @contextlib.contextmanager
    def taken(self) -> Iterator[psycopg.Connection[Any]]:
        """As `held`, when the caller has the lock. Trouble is a `LedgerFailing`."""
        try:
            if self._db is None or self._db.closed:
                self._db = self._connect()
            yield self._db
        except psycopg.Error as error:
            self._drop_if_broken(error)
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise LedgerFailing(where=self.where, reason=reason[0]) from error

    def close(self) -> None:
        """Let go of it."""
        with self.lock:
            if self._db is not None:
                self._db.close()

    def _connect(self) -> psycopg.Connection[Any]:
        db = psycopg.connect(patient(self._url), autocommit=True, prepare_threshold=1)
        db.execute(SESSION)
        db.execute(READ_COMMITTED)
        return db

    def _drop_if_broken(self, error: psycopg.Error) -> None:
        db = self._db
        if db is not None and (
            isinstance(error, psycopg.OperationalError | pg_errors.AdminShutdown) or db.broken
        ):
            self._db = None
            with contextlib.suppress(psycopg.Error):
                db.close()
