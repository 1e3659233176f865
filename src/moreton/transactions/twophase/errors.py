"""The troubles of two-phase commits."""

from __future__ import annotations

from moreton.kernel.errors import RetryAdvice
from moreton.transactions.errors import TransactionError


class Aborted(TransactionError):
    """A transaction was rolled back everywhere."""

    code = "twophase-aborted"
    retry = RetryAdvice.NOW

    def __init__(self, *, transaction_id: str, reason: str) -> None:
        self.transaction_id = transaction_id
        self.reason = reason
        super().__init__(
            f"transaction {transaction_id} is rolled back at every participant, {reason}: "
            "nothing was changed; run it again"
        )


class OutcomeUnknown(TransactionError):
    """The decision was written, perhaps: the log does not answer."""

    code = "twophase-outcome-unknown"
    retry = RetryAdvice.AFTER

    def __init__(self, *, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        super().__init__(
            f"the log did not answer whether transaction {transaction_id} is decided: all its "
            "participants keep their locks; the resolver ends it once the log is back, do not run "
            "it again before you have looked"
        )


class PreparedDisabled(TransactionError):
    """A PostgreSQL server has no room for prepared transactions."""

    code = "twophase-prepared-disabled"

    def __init__(self, *, participant: str) -> None:
        self.participant = participant
        super().__init__(
            f"participant {participant!r} has max_prepared_transactions = 0: it cannot take part "
            "in a two-phase commit; set it to max_connections, or above, in postgresql.conf, and "
            "restart the server"
        )


class PreparedFull(TransactionError):
    """A PostgreSQL server holds as many prepared transactions as it may."""

    code = "twophase-prepared-full"
    retry = RetryAdvice.AFTER

    def __init__(self, *, participant: str, reason: str) -> None:
        self.participant = participant
        super().__init__(
            f"participant {participant!r} holds as many prepared transactions as "
            f"max_prepared_transactions allows ({reason}): nothing was changed; run the resolver, "
            "look at `moreton indoubt list`, or raise it"
        )


class PrepareRefused(TransactionError):
    """A participant cannot promise to commit."""

    code = "twophase-prepare-refused"

    def __init__(self, *, participant: str, reason: str) -> None:
        self.participant = participant
        self.reason = reason
        super().__init__(
            f"participant {participant!r} cannot promise to commit, {reason}: nothing was changed "
            "anywhere"
        )


class HeldByPrepared(TransactionError):
    """An SQLite file waits for the decision about an earlier transaction."""

    code = "twophase-file-held"
    retry = RetryAdvice.AFTER

    def __init__(self, *, participant: str, gid: str) -> None:
        self.participant = participant
        self.gid = gid
        super().__init__(
            f"the file of participant {participant!r} waits for the decision about {gid!r}: "
            "nothing else can be written to it; run the resolver, or look at `moreton indoubt list`"
        )


class UnknownBranch(TransactionError):
    """A participant has no such prepared transaction."""

    code = "twophase-unknown-prepared"

    def __init__(self, *, gid: str) -> None:
        self.gid = gid
        super().__init__(
            f"no participant has a prepared transaction {gid!r}: nothing was done; "
            "`moreton indoubt list` names those that there are"
        )


class DecidedOtherwise(TransactionError):
    """A person wants to end a transaction otherwise than was decided."""

    code = "twophase-decided-otherwise"

    def __init__(self, *, gid: str, decision: str) -> None:
        self.gid = gid
        super().__init__(
            f"{gid!r} is decided to {decision}, and other participants may have done so: ending it "
            "otherwise would tear the transaction apart, nothing was done; run the resolver"
        )
