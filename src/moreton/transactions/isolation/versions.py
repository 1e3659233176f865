"""A version file: operations that arrive in any order, and are done in that of their numbers.

Source: Frank and Zahle, as in `locks`; Richardson, "Microservices Patterns", 2018, section 4.3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moreton.kernel.arguments import check_duration, check_whole
from moreton.transactions.barrier.call import check_name
from moreton.transactions.isolation.errors import QueueFull
from moreton.transactions.isolation.running import run, run_async
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

AHEAD_MAX = 1000
OPERATION_CHARS_MAX = 64 * 1024
NUMBER_MAX = 2**62
LISTED_MAX = 1000


@dataclass(frozen=True, slots=True)
class Operation:
    """What is to be done now; its *number* is the next one."""

    number: int
    content: Any


class VersionFile:
    """Puts what is to be done with *subject* in order, and does each number once.

    Who decides numbers its operations per subject, from 1 on and without a gap, in the transaction
    that decides them. Here they may arrive late, twice and before others::

        for operation in VersionFile("card-7").arrive(connection, 2, {"limit": 900}):
            ...  # none while number 1 is missing; then both, 1 first
    """

    def __init__(self, subject: str) -> None:
        check_name("subject", subject)
        self.subject = subject

    def arrive(self, connection: Any, number: int, content: Any = None) -> list[Operation]:
        """What is to be done now, in the same transaction, in order; often nothing.

        One that has been done already is passed over. *content* is what JSON can say. Raises
        `QueueFull` when more than a thousand wait for a missing one, and `IsolationMissing`.
        """
        text = _checked(number, content)
        return run(connection, lambda dialect: _arrive(dialect, self.subject, number, text))

    async def arrive_async(
        self, connection: Any, number: int, content: Any = None
    ) -> list[Operation]:
        """As `arrive`."""
        text = _checked(number, content)
        return await run_async(
            connection, lambda dialect: _arrive(dialect, self.subject, number, text)
        )

    def skip(self, connection: Any, number: int) -> list[Operation]:
        """A person says that *number* never comes: what waits behind it, to be done now.

        Raises `ValueError` for another than the one that is waited for.
        """
        text = _checked(number, None)
        return run(connection, lambda dialect: _skip(dialect, self.subject, number, text))

    @staticmethod
    def missing(connection: Any, *, longer_than: timedelta) -> dict[str, int]:
        """The number that each subject waits for for *longer_than*; the oldest thousand."""
        check_duration("longer_than", longer_than, zero=True)
        return run(connection, lambda dialect: _missing(dialect, longer_than))


def _checked(number: int, content: Any) -> str:
    check_whole("number", number, 1, NUMBER_MAX)
    try:
        text = json.dumps(content)
    except (TypeError, ValueError) as error:
        raise TypeError(f"content cannot be kept as JSON, {error}: give plain values") from error
    if len(text) > OPERATION_CHARS_MAX:
        raise ValueError(
            f"content has {len(text)} letters as JSON: give at most {OPERATION_CHARS_MAX}"
        )
    return text


def _skip(dialect: Dialect, subject: str, number: int, text: str) -> Script[list[Operation]]:
    following = yield from _next(dialect, subject)
    if number != following:
        raise ValueError(
            f"number is {number}, and {subject!r} waits for {following}: skip that one first"
        )
    return (yield from _arrive(dialect, subject, number, text))[1:]


def _next(dialect: Dialect, subject: str) -> Script[int]:
    """The number that *subject* waits for, which is held until the transaction ends."""
    (((following,),),) = yield [
        Statement(
            "INSERT INTO moreton_version_next AS known (subject, next, at) "
            f"VALUES (?, 1, {dialect.now}) "
            "ON CONFLICT (subject) DO UPDATE SET next = known.next RETURNING next",
            (subject,),
        )
    ]
    return int(following)


def _arrive(dialect: Dialect, subject: str, number: int, text: str) -> Script[list[Operation]]:
    following = yield from _next(dialect, subject)
    if number < following:
        return []
    if number > following:
        yield from _keep(dialect, subject, number, text)
        return []
    (waiting,) = yield [
        Statement(
            "SELECT number, operation FROM moreton_version WHERE subject = ? AND number > ? "
            f"ORDER BY number LIMIT {AHEAD_MAX}",
            (subject, number),
        )
    ]
    due = [(number, text)]
    due += [row for place, row in enumerate(waiting, number + 1) if row[0] == place]
    after = due[-1][0] + 1
    yield [
        Statement("DELETE FROM moreton_version WHERE subject = ? AND number < ?", (subject, after)),
        Statement(
            f"UPDATE moreton_version_next SET next = ?, at = {dialect.now} WHERE subject = ?",
            (after, subject),
        ),
    ]
    return [Operation(each, json.loads(content)) for each, content in due]


def _keep(dialect: Dialect, subject: str, number: int, text: str) -> Script[None]:
    (((count,),),) = yield [
        Statement("SELECT count(*) FROM moreton_version WHERE subject = ?", (subject,))
    ]
    if count >= AHEAD_MAX:
        raise QueueFull(name=subject, count=count)
    yield [
        Statement(
            "INSERT INTO moreton_version (subject, number, operation, at) "
            f"VALUES (?, ?, ?, {dialect.now}) ON CONFLICT DO NOTHING",
            (subject, number, text),
        )
    ]


def _missing(dialect: Dialect, longer_than: timedelta) -> Script[dict[str, int]]:
    (rows,) = yield [
        Statement(
            "SELECT known.subject, known.next FROM moreton_version_next AS known JOIN ("
            "SELECT subject, min(at) AS since FROM moreton_version GROUP BY subject) AS waiting "
            f"ON waiting.subject = known.subject WHERE waiting.since <= {dialect.later} "
            f"ORDER BY waiting.since LIMIT {LISTED_MAX}",
            (-longer_than.total_seconds(),),
        )
    ]
    return {subject: int(following) for subject, following in rows}
