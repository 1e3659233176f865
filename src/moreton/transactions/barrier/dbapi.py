"""The barrier on a plain connection: `sqlite3`, psycopg, and others of DB-API 2.0 and their kind.

Statements and their placeholders are all that differs, so that one core serves every driver.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from moreton.kernel.arguments import check_duration, check_kind
from moreton.transactions.barrier.call import Call
from moreton.transactions.barrier.core import (
    FORGET,
    KEEP,
    SCHEMA,
    TABLE,
    Answer,
    Ask,
    Judgement,
    Verdict,
    judge,
)
from moreton.transactions.barrier.errors import BarrierMissing, NotInTransaction
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.measuring import listeners, measure

# A result is to be read again with the row; what is larger belongs into a table of its own.
RESULT_CHARS_MAX = 64 * 1024
Run = Callable[[str, tuple[object, ...]], Any]
RunAsync = Callable[[str, tuple[object, ...]], Awaitable[Any]]
# The module of the driver -> its placeholder.
_PLACEHOLDERS = {
    "sqlite3": "?",
    "aiosqlite": "?",
    "psycopg": "%s",
    "psycopg2": "%s",
}
_UNDEFINED_TABLE = "42P01"
_passed = Failpoint("barrier.passed")
_IDLE = 0  # libpq's PQTRANS_IDLE, the same in psycopg and psycopg2


class Passage:
    """What the barrier decided: true for the one call that is to act.

    *result* is what that call kept, for those that repeat it.
    """

    __slots__ = ("_call", "_run", "result", "verdict")

    def __init__(self, call: Call, judgement: Judgement, run: Callable[..., Any]) -> None:
        self.verdict = judgement.verdict
        self.result: Any = None if judgement.result is None else json.loads(judgement.result)
        self._call = call
        self._run = run

    def __bool__(self) -> bool:
        """Whether this call is to act."""
        return self.verdict is Verdict.FIRST

    def keep(self, result: Any) -> Any:
        """Keep *result*, as JSON, for calls that repeat this one; await it where `enter` was."""
        text = json.dumps(result)
        if len(text) > RESULT_CHARS_MAX:
            raise ValueError(
                f"a result has {len(text)} letters as JSON: give at most {RESULT_CHARS_MAX}, "
                "or the key of where it is"
            )
        self.result = json.loads(text)
        return self._run(KEEP, (text, self._call.transaction_id, self._call.branch))


def enter(connection: Any, call: Call) -> Passage:
    """Whether *call* is to act now, decided in the open transaction of *connection*.

    Raises `NotInTransaction` where each statement would commit itself, `BarrierMissing` without the
    table, `ActsCollide` when the branch was decided the other way; errors of the driver pass: roll
    back and try again, as for any other statement.
    """
    check_in_transaction(connection)
    return enter_by(runner(connection), call)


def enter_by(run: Run, call: Call) -> Passage:
    """As `enter`, with *run* for statements with `?` placeholders; it gives a cursor."""
    check_kind("call", call, Call)
    steps = judge(call, _now_ms())
    ask = next(steps)
    while True:
        try:
            cursor = run(ask.sql, ask.values)
        except Exception as error:
            if _misses_table(error):
                raise BarrierMissing(TABLE) from error
            raise
        try:
            ask = steps.send(Answer(cursor.rowcount, cursor.fetchone() if _reads(ask) else None))
        except StopIteration as end:
            return _judged(call, end.value, run)


async def enter_async(connection: Any, call: Call) -> Passage:
    """As `enter`, with a connection whose `execute` is awaited: psycopg's `AsyncConnection`."""
    check_in_transaction(connection)
    check_kind("call", call, Call)
    run: RunAsync = runner(connection)
    steps = judge(call, _now_ms())
    ask = next(steps)
    while True:
        try:
            cursor = await run(ask.sql, ask.values)
            row = await cursor.fetchone() if _reads(ask) else None
        except Exception as error:
            if _misses_table(error):
                raise BarrierMissing(TABLE) from error
            raise
        try:
            ask = steps.send(Answer(cursor.rowcount, row))
        except StopIteration as end:
            return _judged(call, end.value, run)


def _judged(call: Call, judgement: Judgement, run: Callable[..., Any]) -> Passage:
    _passed()
    if listeners:
        measure("moreton_barrier_calls", act=str(call.act), verdict=str(judgement.verdict))
    return Passage(call, judgement, run)


def create_table(connection: Any) -> None:
    """Make the barrier's table if it is not there. *connection* commits it."""
    runner(connection)(SCHEMA, ())


def forget(connection: Any, *, older_than: timedelta) -> int:
    """Remove records of branches that began longer ago than *older_than*; how many.

    Keep them for longer than any call may still be repeated: what is forgotten happens again.
    """
    check_duration("older_than", older_than)
    oldest = _now_ms() - older_than // timedelta(milliseconds=1)
    changed: int = runner(connection)(FORGET, (oldest,)).rowcount
    return changed


def check_in_transaction(connection: Any) -> None:
    """*connection* is in a transaction, or begins one with its next statement."""
    if hasattr(connection, "in_transaction"):  # sqlite3 and aiosqlite
        is_open = connection.in_transaction or not (
            connection.isolation_level is None or getattr(connection, "autocommit", None) is True
        )
    elif hasattr(connection, "info") and hasattr(connection, "autocommit"):  # psycopg
        is_open = not connection.autocommit or connection.info.transaction_status != _IDLE
    else:
        is_open = True
    if not is_open:
        raise NotInTransaction


def runner(connection: Any) -> Run:
    """What runs statements with `?` placeholders on *connection*."""
    driver = next(
        (
            known
            for kind in type(connection).__mro__
            if (known := kind.__module__.partition(".")[0]) in _PLACEHOLDERS
        ),
        None,
    )
    if driver is None:
        raise TypeError(
            f"connection is {connection!r}: give one of {', '.join(_PLACEHOLDERS)}; those of "
            "SQLAlchemy and Django have modules of their own in moreton.transactions.barrier"
        )
    mark = _PLACEHOLDERS[driver]
    execute = connection.execute if hasattr(connection, "execute") else None

    def run(sql: str, values: tuple[object, ...]) -> Any:
        text = sql.replace("?", mark)
        if execute is not None:
            return execute(text, values)
        cursor = connection.cursor()
        cursor.execute(text, values)
        return cursor

    return run


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _reads(ask: Ask) -> bool:
    return ask.sql.startswith("SELECT")


def _misses_table(error: Exception) -> bool:
    states = {getattr(error, "sqlstate", ""), getattr(error, "pgcode", "")}
    return f"no such table: {TABLE}" in str(error) or _UNDEFINED_TABLE in states
