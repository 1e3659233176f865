"""Statements sent to a PostgreSQL by its own library, several in one trip.

A cursor of psycopg's takes more of the processor than the server does for most of our statements,
and a pipeline of its takes twice that. What handlers write with is psycopg's all the same.
"""

from __future__ import annotations

import select
from itertools import count
from typing import TypeAlias

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq.abc import PGresult

from moreton.transactions.databases.postgres import Connection
from moreton.transactions.outbox.tables.script import Batch, Rows, Statement
from moreton.transactions.outbox.writers import dollars

# Parsed and planned once each, when they come again; what comes above that, each time.
PREPARED_MAX = 100
_BEGIN, _COMMIT, _ROLLBACK = Statement("BEGIN"), Statement("COMMIT"), Statement("ROLLBACK")

_Kind: TypeAlias = tuple[str, tuple[int, ...]]


class Trips:
    """Our own statements on *connection*."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._readable, self._either = select.poll(), select.poll()
        self._readable.register(self._pgconn.socket, select.POLLIN)
        self._either.register(self._pgconn.socket, select.POLLIN | select.POLLOUT)
        # By text and types of values; an empty name: it came once.
        self._names: dict[_Kind, bytes] = {}
        self._numbers = count()

    def run(self, batch: Batch, *, begin: bool = False) -> list[Rows]:
        """The rows of each statement of *batch*; *begin* a transaction in the same trip.

        Raises `psycopg.Error` for the first that fails; those behind it are not run, and the
        connection is closed, so that nobody has to know what is left of it.
        """
        idle = self._connection.info.transaction_status == pq.TransactionStatus.IDLE
        wanted = [_BEGIN, *batch] if begin else batch
        try:
            try:
                results = self._trip(wanted, named=idle)
            except psycopg.errors.InvalidSqlStatementName:
                # As psycopg does when a handler's savepoint is rolled back: nothing was done yet.
                self._names.clear()
                self.roll_back()
                results = self._trip(wanted, named=idle)
        except BaseException:
            self._connection.close()
            raise
        return [self._rows(result) for result in results[begin:]]

    def commit(self) -> None:
        """Raises `psycopg.Error`, also where the server rolled back as something had failed."""
        (result,) = self._trip([_COMMIT], named=False)
        if result.command_status != _COMMIT.sql.encode():
            raise psycopg.errors.InFailedSqlTransaction(
                "a statement failed in it before: the transaction is rolled back"
            )

    def roll_back(self) -> None:
        """Undo what there is of a transaction, or close the connection."""
        try:
            if self._connection.info.transaction_status != pq.TransactionStatus.IDLE:
                self._trip([_ROLLBACK], named=False)
        except psycopg.Error:
            self._connection.close()

    def _trip(self, batch: Batch, *, named: bool) -> list[PGresult]:
        """The result of each statement."""
        try:
            self._pgconn.enter_pipeline_mode()
            # To make a name is answered, too.
            counts = [one for each in batch for one in self._send(each, named=named)]
            self._pgconn.pipeline_sync()
            results = self._results()
            self._pgconn.exit_pipeline_mode()
        except BaseException:
            self._connection.close()
            raise
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result, self._connection.info.encoding)
        return [one for one, its in zip(results, counts, strict=True) if its]

    def _send(self, statement: Statement, *, named: bool) -> list[bool]:
        given = Transformer(self._connection)
        values = given.dump_sequence(statement.values, [PyFormat.AUTO] * len(statement.values))
        kind = statement.sql, tuple(given.types or ())
        name = self._names.get(kind)
        if named and name:
            self._pgconn.send_query_prepared(name, values, given.formats)
            return [True]
        sql = dollars(statement.sql).encode()
        if not named or name is None:
            if named and len(self._names) < PREPARED_MAX:
                self._names[kind] = b""
            self._pgconn.send_query_params(sql, values, kind[1], given.formats)
            return [True]
        name = self._names[kind] = f"moreton_{next(self._numbers)}".encode()
        self._pgconn.send_prepare(name, sql, kind[1])
        self._pgconn.send_query_prepared(name, values, given.formats)
        return [False, True]

    def _results(self) -> list[PGresult]:
        found: list[PGresult] = []
        while True:
            self._wait()
            result = self._pgconn.get_result()
            if result is None:
                continue  # the end of one statement's
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return found
            found.append(result)

    def _wait(self) -> None:
        # The library would wait for what is not here yet with the interpreter held.
        sending = self._pgconn.flush()
        while sending or self._pgconn.is_busy():
            (self._either if sending else self._readable).poll()
            self._pgconn.consume_input()
            sending = self._pgconn.flush()

    def _rows(self, result: PGresult) -> Rows:
        if result.status != pq.ExecStatus.TUPLES_OK:
            return []
        found = Transformer(self._connection)
        found.set_pgresult(result)
        rows: Rows = found.load_rows(0, result.ntuples, tuple)
        return rows
