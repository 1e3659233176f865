"""The troubles of countermeasures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moreton.kernel.errors import RetryAdvice
from moreton.transactions.errors import TransactionError

if TYPE_CHECKING:
    from moreton.transactions.isolation.locks import Turn


class IsolationMissing(TransactionError):
    """The database has no tables of the countermeasures."""

    code = "isolation-missing"

    def __init__(self, table: str) -> None:
        super().__init__(
            f"the database has no table {table}: nobody can be told to wait; make it with install, "
            "or with a migration that runs what schema gives"
        )


class OutsideTransaction(TransactionError):
    """A countermeasure was asked on a connection where each statement commits itself."""

    code = "isolation-outside-transaction"

    def __init__(self) -> None:
        super().__init__(
            "the connection commits each statement by itself: what is said here would hold without "
            "the change that it is for; begin a transaction first"
        )


class Busy(TransactionError):
    """Somebody else has a lock: for participants to raise."""

    code = "isolation-busy"
    retry = RetryAdvice.AFTER

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        super().__init__(
            f"{turn.owner!r} waits for {turn.name!r}, which {turn.holder!r} has, with {turn.ahead} "
            "before it: nothing was changed, its place is kept; try again"
        )


class CircleOfWaits(TransactionError):
    """Owners of locks wait for each other."""

    code = "isolation-circle-of-waits"

    def __init__(self, *, name: str, owner: str) -> None:
        self.name = name
        self.owner = owner
        super().__init__(
            f"{owner!r} would wait for {name!r} whose holder waits for {owner!r}: none of them "
            "would ever go on; undo it, and take locks in one order everywhere"
        )


class QueueFull(TransactionError):
    """As many as may wait do so."""

    code = "isolation-queue-full"
    retry = RetryAdvice.AFTER

    def __init__(self, *, name: str, count: int) -> None:
        self.name = name
        super().__init__(
            f"{count} wait for {name!r}: one more is not taken, nothing was changed; "
            "look who holds it up"
        )


class NoRow(TransactionError):
    """The row that was to be changed or read is not there."""

    code = "isolation-no-row"

    def __init__(self, *, table: str, key: object) -> None:
        super().__init__(
            f"{table} has no row {key}, or a number in it is NULL: nothing was changed; "
            "insert it with 0 first"
        )


class ValueChanged(TransactionError):
    """What was read before is not as it was."""

    code = "isolation-value-changed"

    def __init__(self, *, table: str, key: object, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        super().__init__(
            f"{', '.join(columns)} of row {key} of {table} changed since it was read: what was "
            "decided by it may be wrong, nothing was changed; go back, and begin again"
        )
