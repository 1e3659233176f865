"""How a barrier decides: one row per branch, changed by statements that only one caller wins.

A row is *done*, *confirmed* or *undone*; there is no way back. An insert waits for whoever inserts
the same row in an open transaction, as both databases do, so that two calls that come at once are
told apart by what the first of them commits.

Source: the barrier of dtm and the fence of Seata solve the same with two rows, or one per attempt;
one row with a state needs one write per act, and tells a late action from a repeated one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from moreton.transactions.barrier.call import Act, Call
from moreton.transactions.barrier.errors import ActsCollide, BarrierContended

TABLE = "moreton_barrier"
SCHEMA = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    transaction_id TEXT NOT NULL CHECK (transaction_id <> ''),
    branch TEXT NOT NULL CHECK (branch <> ''),
    state TEXT NOT NULL,
    result TEXT,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (transaction_id, branch)
)"""
_INSERT = (
    f"INSERT INTO {TABLE} (transaction_id, branch, state, at_ms) VALUES (?, ?, ?, ?) "  # noqa: S608 - fixed
    "ON CONFLICT DO NOTHING"
)
_CHANGE = (
    f"UPDATE {TABLE} SET state = ? "  # noqa: S608 - fixed
    "WHERE transaction_id = ? AND branch = ? AND state = 'done'"
)
_READ = (
    f"SELECT state, result FROM {TABLE} "  # noqa: S608 - fixed
    "WHERE transaction_id = ? AND branch = ?"
)
KEEP = (
    f"UPDATE {TABLE} SET result = ? "  # noqa: S608 - fixed
    "WHERE transaction_id = ? AND branch = ?"
)
FORGET = f"DELETE FROM {TABLE} WHERE at_ms < ?"  # noqa: S608 - fixed
_TRIES_MAX = 3


class Verdict(StrEnum):
    """Whether to act, and why not: repeated, nothing to undo, or too late."""

    FIRST = "first"
    REPEATED = "repeated"
    EMPTY = "empty"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Ask:
    """Run *sql*; answer with how many rows changed and the first row, if it has one."""

    sql: str
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an `Ask` found."""

    changed: int
    row: tuple[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, and the result that the first call kept, as JSON."""

    verdict: Verdict
    result: str | None = None


Steps = Generator[Ask, Answer, Judgement]


def judge(call: Call, at_ms: int) -> Steps:
    """Decide about *call*, which came *at_ms*, in the participant's transaction.

    Raises `ActsCollide`.
    """
    key = (call.transaction_id, call.branch)
    for _ in range(_TRIES_MAX):
        match call.act:
            case Act.DO:
                won = yield Ask(_INSERT, (*key, "done", at_ms))
            case Act.CONFIRM:
                won = yield Ask(_CHANGE, ("confirmed", *key))
            case Act.UNDO:
                barred = yield Ask(_INSERT, (*key, "undone", at_ms))
                if barred.changed:
                    return Judgement(Verdict.EMPTY)
                won = yield Ask(_CHANGE, ("undone", *key))
            case _:
                assert_never(call.act)
        if won.changed:
            return Judgement(Verdict.FIRST)
        found = yield Ask(_READ, key)
        if found.row is not None:
            return _repeated(call, *found.row)
        if call.act is Act.CONFIRM:
            raise ActsCollide(call, "unknown here")
    raise BarrierContended(call)


def _repeated(call: Call, state: str, result: str | None) -> Judgement:
    """What a call means that found its branch in *state*."""
    if call.act is Act.DO:
        verdict = Verdict.LATE if state == "undone" else Verdict.REPEATED
        return Judgement(verdict, result if verdict is Verdict.REPEATED else None)
    if (call.act, state) in {(Act.CONFIRM, "confirmed"), (Act.UNDO, "undone")}:
        return Judgement(Verdict.REPEATED, result)
    raise ActsCollide(call, state)
