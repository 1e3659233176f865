"""The troubles of TCC transactions."""

from __future__ import annotations

from moreton.transactions.errors import TransactionError


class Refused(TransactionError):
    """A participant says no: raise it where an action cannot be done, with the reason."""

    code = "tcc-refused"

    def __init__(self, reason: str = "refused") -> None:
        self.reason = reason
        super().__init__(reason)


class UnknownParticipant(TransactionError):
    """A transaction has a branch that no participant is known for."""

    code = "tcc-unknown-participant"

    def __init__(self, *, branch: str, known: str) -> None:
        self.branch = branch
        super().__init__(
            f"a transaction has a branch {branch!r}, known are {known}: nothing can be asked of "
            "it; give the coordinator a participant of that name"
        )


class TransactionIdTaken(TransactionError):
    """A transaction of that id has other branches or payloads."""

    code = "tcc-id-taken"

    def __init__(self, *, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        super().__init__(
            f"a transaction {transaction_id!r} is there already, with other branches or payloads: "
            "nothing was done; give each transaction an id of its own"
        )


class UnknownTransaction(TransactionError):
    """The log has no transaction of that id."""

    code = "tcc-unknown-transaction"

    def __init__(self, *, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        super().__init__(
            f"the log knows no transaction {transaction_id!r}: nothing was done; it was never "
            "begun, or is forgotten"
        )
