"""What a saga's machine is told, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from moreton.kernel.time import Instant
from moreton.transactions.saga.core.plan import Act
from moreton.transactions.saga.core.records import Decision, Record


class Failure(StrEnum):
    """What an error proves."""

    TRANSIENT = "transient"  # trying again may help; it may have taken effect
    FINAL = "final"  # trying again would not help; it may have taken effect
    DECLINED = "declined"  # an answer: no, and nothing was done


class Status(StrEnum):
    """How far a saga is."""

    READY = "ready"  # a worker may take it
    RUNNING = "running"  # a worker has it
    QUEUED = "queued"  # behind another saga that has its lock
    WAITING = "waiting"  # for a signal, a child, a time
    PARKED = "parked"  # a person has to decide
    COMPLETED = "completed"
    COMPENSATED = "compensated"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in {Status.COMPLETED, Status.COMPENSATED}


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A step took effect."""

    step: str
    result: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of a step, or of its undoing, failed."""

    step: str
    error: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class Undid:
    """A step was undone."""

    step: str


@dataclass(frozen=True, slots=True)
class Told:
    """A person decided."""

    decision: Decision
    note: str = ""


@dataclass(frozen=True, slots=True)
class Halt:
    """The host cannot go on with this saga."""

    reason: str


Event: TypeAlias = Succeeded | Failed | Undid | Told | Halt


@dataclass(frozen=True, slots=True)
class Append:
    """Make *record* durable before any later effect is performed."""

    record: Record


@dataclass(frozen=True, slots=True)
class Attempt:
    """Do the step, for the *number*-th time; give up at *until*."""

    step: str
    number: int
    until: Instant | None


@dataclass(frozen=True, slots=True)
class Undo:
    """Undo the step, for the *number*-th time; *result* is what doing it gave, if that is known."""

    step: str
    number: int
    until: Instant | None
    result: str | None


@dataclass(frozen=True, slots=True)
class Await:
    """Say when the step's signal came or its child ended; it may have already."""

    step: str
    act: Act


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is under way: the saga ended, or is parked for *reason*."""

    status: Status
    reason: str = ""


Effect: TypeAlias = Append | Attempt | Undo | Await | Rest
