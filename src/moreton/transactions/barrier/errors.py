"""The troubles of barriers."""

from __future__ import annotations

from moreton.kernel.errors import RetryAdvice
from moreton.transactions.barrier.call import Call
from moreton.transactions.errors import TransactionError


class BarrierMissing(TransactionError):
    """The database has no table of the barrier."""

    code = "barrier-missing"

    def __init__(self, table: str) -> None:
        super().__init__(
            f"the database has no table {table}: no call can be told from its repetition; "
            "make it with create_table, or with a migration that runs SCHEMA"
        )


class NotInTransaction(TransactionError):
    """The barrier was asked on a connection where each statement commits itself."""

    code = "barrier-not-in-transaction"

    def __init__(self) -> None:
        super().__init__(
            "the connection is in no transaction, each statement commits itself: the barrier would "
            "be ahead of the change that it guards; begin a transaction first"
        )


class ActsCollide(TransactionError):
    """A branch was confirmed and is to be undone, or the other way round, or was never done."""

    code = "barrier-acts-collide"

    def __init__(self, call: Call, state: str) -> None:
        self.call = call
        self.state = state
        super().__init__(
            f"branch {call.branch!r} of transaction {call.transaction_id!r} is {state} and was to "
            f"{call.act} now: nothing was changed; look who decided differently"
        )


class BarrierContended(TransactionError):
    """The record of a branch went away while it was looked at, each time."""

    code = "barrier-contended"
    retry = RetryAdvice.NOW

    def __init__(self, call: Call) -> None:
        super().__init__(
            f"the record of branch {call.branch!r} of transaction {call.transaction_id!r} goes "
            "away each time: nothing was changed; keep records for longer than calls are repeated"
        )
