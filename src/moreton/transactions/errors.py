"""What every part of transactions raises."""

from __future__ import annotations

from moreton.kernel.errors import MoretonError


class TransactionError(MoretonError):
    """The root of the troubles of sagas, outboxes and two-phase commits."""

    code = "transaction-failed"
