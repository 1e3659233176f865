"""What is wrong with a definition, with a history, or with a decision."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.transactions.errors import TransactionError


class SagaError(TransactionError):
    """The root of the errors of sagas."""

    code = "saga-failed"


class SagaIllDefined(SagaError, ValueError):
    """A definition that could not keep what a saga promises; `faults` has all that is wrong."""

    code = "saga-ill-defined"

    def __init__(self, *, saga: str, faults: Sequence[str]) -> None:
        self.saga = saga
        self.faults = tuple(f'saga "{saga}": {fault}' for fault in faults)
        super().__init__("\n".join(self.faults))


class HistoryDoesNotFit(SagaError):
    """A log that no run of this plan could have written: the definition was changed."""

    code = "saga-history-does-not-fit"

    def __init__(self, *, saga: str, version: int, what: str) -> None:
        self.saga, self.what = saga, what
        super().__init__(
            f'the log of a running "{saga}" does not fit version {version}, {what}: it cannot go '
            "on by it; register the code that began it beside the new one, under its own version"
        )


class DecisionRefused(SagaError):
    """What a person decided does not fit the state that the saga is in."""

    code = "saga-decision-refused"

    def __init__(self, *, decision: str, why: str) -> None:
        super().__init__(f"{decision} is refused: {why}")
