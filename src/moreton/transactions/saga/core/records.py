"""What a saga's log holds: facts, in the order in which they became durable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from moreton.kernel.time import Instant


class Verdict(StrEnum):
    """What a failed attempt means."""

    AGAIN = "again"  # it is tried again
    UNKNOWN = "unknown"  # no more attempts, and it may have taken effect
    DECLINED = "declined"  # it said no: nothing was done


class Decision(StrEnum):
    """What a person may decide."""

    RETRY = "retry"  # try again what is stuck
    SKIP = "skip"  # it was done by hand, or need not be
    COMPENSATE = "compensate"  # go back; of a stuck pivot: it did not happen
    RESUME = "resume"  # go on after the cause of the parking was removed


@dataclass(frozen=True, slots=True)
class StepDone:
    """The step took effect; *result* is what it returned, encoded.

    *origin*: the saga whose step it was, of which this one is a fork.
    """

    step: str
    result: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class StepFailed:
    """Attempt number *attempt* of the step failed; the first one began at *began*."""

    step: str
    attempt: int
    error: str
    verdict: Verdict
    began: Instant
    again_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class StepUndone:
    """What the step did was undone, or proved not to be there."""

    step: str


@dataclass(frozen=True, slots=True)
class UndoFailed:
    """Attempt number *attempt* to undo the step failed; without *again_at* it is stuck."""

    step: str
    attempt: int
    error: str
    began: Instant
    again_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The step waits for its signal, its child or its time, until *until* if that is set."""

    step: str
    until: Instant | None


@dataclass(frozen=True, slots=True)
class Aborted:
    """The saga goes back though no step failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """A person decided; *note* is who and why."""

    decision: Decision
    note: str = ""


@dataclass(frozen=True, slots=True)
class Halted:
    """The saga was parked for a reason that lies in no step."""

    reason: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """A person let the saga go on by another version of its definition."""

    before: int
    version: int


Record: TypeAlias = (
    StepDone
    | StepFailed
    | StepUndone
    | UndoFailed
    | Waiting
    | Aborted
    | Decided
    | Halted
    | Migrated
)
