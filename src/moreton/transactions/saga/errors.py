"""What sagas raise."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.kernel.errors import RetryAdvice, shown_address
from moreton.transactions.saga.core.errors import (
    DecisionRefused,
    HistoryDoesNotFit,
    SagaError,
    SagaIllDefined,
)

__all__ = [
    "DecisionRefused",
    "Declined",
    "EngineClosed",
    "Fenced",
    "HistoryDoesNotFit",
    "LedgerFailing",
    "NotSerialisable",
    "PayloadTooLarge",
    "QueueUnknown",
    "SagaChanged",
    "SagaError",
    "SagaExists",
    "SagaIllDefined",
    "SagaNotRegistered",
    "SagaUnknown",
    "SagasFull",
    "ScheduleUnknown",
    "SignalRefused",
    "UnknownLedgerUrl",
    "VersionUnknown",
]

_SHOWN_CHARS = 80


class Declined(SagaError):
    """Raise it in a step to say no: nothing was done, and trying again would not help.

    It speaks for every attempt under the step's key: a step that may have acted before does not
    decline. Nothing of the step is undone then; every other error leaves open whether it acted.
    """

    code = "saga-step-declined"


class NotSerialisable(SagaError):
    """A value that cannot be written down."""

    code = "saga-not-serialisable"

    def __init__(self, *, what: str, value: object, reason: str) -> None:
        shown = repr(value)
        if len(shown) > _SHOWN_CHARS:
            shown = shown[:_SHOWN_CHARS] + "…"
        super().__init__(
            f"{what} is {shown}, which cannot be written down, {reason}: a saga that goes on in "
            "another process would not have it; give numbers, text, lists, dictionaries, dates, "
            "UUIDs, decimals, bytes, data classes, or the key under which the rest is stored"
        )


class PayloadTooLarge(SagaError):
    """A value that is larger than a log should hold."""

    code = "saga-payload-too-large"

    def __init__(self, *, what: str, size: int, most: int) -> None:
        super().__init__(
            f"{what} has {size:,} bytes and at most {most:,} are kept: it was not written; store "
            "it elsewhere and hand on its address, or raise payload_bytes_max"
        )


class SagaExists(SagaError):
    """Another saga has the id."""

    code = "saga-exists"

    def __init__(self, *, saga_id: str, found: str) -> None:
        super().__init__(
            f'id "{saga_id}" is {found}: no second one was begun under it; give another id, or '
            "the same saga with the same input to get hold of that one"
        )


class SagaUnknown(SagaError):
    """No saga has the id."""

    code = "saga-unknown"

    def __init__(self, *, saga_id: str, where: str) -> None:
        super().__init__(
            f'no saga has the id "{saga_id}" in {where}: nothing was done; `moreton saga list` '
            "shows those that are there"
        )


class SagaChanged(SagaError):
    """A definition was changed while sagas of it run."""

    code = "saga-changed"

    def __init__(self, *, saga: str, version: int, running: int, had: Sequence[str]) -> None:
        super().__init__(
            f'saga "{saga}" version {version} was changed while {running} of it are not at their '
            f"end, which began with the steps {', '.join(had)}: they would go on by other rules; "
            f"give the changed one version={version + 1} and register the old one beside it until "
            "those have ended"
        )


class SignalRefused(SagaError):
    """A signal that its saga cannot take."""

    code = "saga-signal-refused"

    def __init__(self, *, saga_id: str, signal: str, why: str) -> None:
        super().__init__(f'signal "{signal}" to saga "{saga_id}" is refused: {why}')


class ScheduleUnknown(SagaError):
    """No schedule has the name."""

    code = "saga-schedule-unknown"

    def __init__(self, *, schedule: str, known: Sequence[str], where: str) -> None:
        super().__init__(
            f'no schedule is called "{schedule}" in {where}, which has '
            f"{', '.join(known) or 'none'}: nothing was done; an engine writes its schedules down "
            "when it opens"
        )


class QueueUnknown(SagaError):
    """No queue has the name."""

    code = "saga-queue-unknown"

    def __init__(self, *, queue: str, known: Sequence[str], where: str) -> None:
        super().__init__(
            f'no queue is called "{queue}" in {where}, which has {", ".join(known) or "none"}: '
            "nothing was done; an engine writes its queues down when it opens"
        )


class VersionUnknown(SagaError):
    """A version of a definition that the log does not know."""

    code = "saga-version-unknown"

    def __init__(self, *, saga: str, version: int, known: Sequence[object]) -> None:
        super().__init__(
            f'saga "{saga}" version {version} is not known, {", ".join(map(str, known)) or "none"}'
            f" of it {'are' if len(known) > 1 else 'is'}: nothing was migrated; start an engine "
            "that has it, beside the old one, first"
        )


class Fenced(SagaError):
    """Another worker has the saga by now, so that a write of this one was refused."""

    code = "saga-fenced"
    retry = RetryAdvice.NEVER

    def __init__(self, *, saga_id: str) -> None:
        super().__init__(
            f'saga "{saga_id}" is another worker\'s by now: what this one did last was not '
            "written, and is asked for again under the same key; if workers are often stopped "
            "for so long, lengthen the lease"
        )


class SagasFull(SagaError):
    """As many sagas wait as may."""

    code = "sagas-full"
    retry = RetryAdvice.AFTER

    def __init__(self, *, waiting: int, most: int) -> None:
        super().__init__(
            f"{waiting:,} sagas wait for a worker and at most {most:,} may: this one was not "
            "begun; try again later, add workers, or raise pending_max"
        )


class EngineClosed(SagaError):
    """The engine was closed, or never opened."""

    code = "saga-engine-closed"

    def __init__(self) -> None:
        super().__init__(
            "the engine is not open: nothing is begun or decided; use it in `with Sagas(...) as "
            "sagas:`, or call `open` first"
        )


class SagaNotRegistered(SagaError):
    """A saga that this engine does not know."""

    code = "saga-not-registered"

    def __init__(self, *, saga: str, known: Sequence[str]) -> None:
        super().__init__(
            f"{saga} is not registered with this engine, which knows {', '.join(known) or 'none'}: "
            "nobody could go on with it after a restart; give it to Sagas(...) where that is made"
        )


class LedgerFailing(SagaError):
    """The database of the log failed or is away."""

    code = "saga-ledger-failing"
    retry = RetryAdvice.AFTER

    def __init__(self, *, where: str, reason: str) -> None:
        super().__init__(
            f"the log of sagas in {where} fails, {reason}: what was not confirmed may be written "
            "or not, and is found out when it is back; sagas go on by themselves then"
        )


class UnknownLedgerUrl(SagaError):
    """An address that no database understands."""

    code = "saga-unknown-url"

    def __init__(self, *, url: str) -> None:
        super().__init__(
            f"{shown_address(url)} is not the address of a log of sagas: it cannot be opened; "
            "write sqlite:///relative/file, sqlite:////absolute/file or "
            "postgresql://user@host/database"
        )
