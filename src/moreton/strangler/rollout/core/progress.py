"""How far a migration has come, what can happen to it, and what follows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from moreton.gateway.core.moves import Move
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.sides import Evidence, Look, Side
from moreton.strangler.rollout.core.verdicts import Verdict


class Phase(StrEnum):
    """What a migration does now."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"  # goes on by nobody's doing; goes back by itself
    FROZEN = "frozen"  # goes nowhere by itself, not even back
    ROLLED_BACK = "rolled-back"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a migration stands: all that has to survive a restart."""

    phase: Phase = Phase.PLANNED
    stage: int = 0
    held: timedelta = timedelta(0)  # in this stage, while running and watched
    evidence: Evidence = field(default_factory=Evidence)  # of this stage
    past: Side | None = None  # the baseline's, of the last stage in which it answered
    approved: bool = False  # somebody let this stage go on
    no_return: bool = False
    reason: str = ""  # why it is paused, frozen or rolled back
    tries: int = 0


def share_of(plan: Plan, progress: Progress) -> float:
    """The only share of the requests that the candidate may get now."""
    if progress.phase in {Phase.PLANNED, Phase.ROLLED_BACK}:
        return 0.0
    return 1.0 if progress.phase is Phase.DONE else plan.stages[progress.stage].share


def move_of(plan: Plan, progress: Progress) -> Move | None:
    """Who goes where meanwhile; `None` while nothing moves.

    Who went first in one stage stays there in those after it.
    """
    if progress.phase in {Phase.PLANNED, Phase.ROLLED_BACK, Phase.DONE}:
        return None
    begun = plan.stages[: progress.stage + 1]
    cohorts = tuple(each.cohort for each in begun if each.cohort is not None)
    return Move(plan.candidate, cohorts, plan.sticky, plan.answer_within)


def copies_of(plan: Plan, progress: Progress) -> float | None:
    """The share of the baseline's requests to be compared; `None` when that is nobody's matter."""
    if progress.phase in {Phase.PLANNED, Phase.ROLLED_BACK, Phase.DONE}:
        return None
    return plan.stages[progress.stage].copies if any(s.copies for s in plan.stages) else None


def next_stage(plan: Plan, progress: Progress) -> Progress:
    """In the stage after the one of *progress*, or done."""
    if progress.stage + 1 == len(plan.stages):
        return replace(progress, phase=Phase.DONE, approved=False, reason="")
    answered = progress.evidence.baseline.requests
    after = plan.stages[progress.stage + 1]
    return replace(
        progress,
        phase=Phase.RUNNING,
        stage=progress.stage + 1,
        held=timedelta(0),
        evidence=Evidence(),
        past=progress.evidence.baseline if answered else progress.past,
        approved=False,
        no_return=progress.no_return or after.no_return,
        reason="",
    )


class Happening(StrEnum):
    """What happened to a migration, as a word for programs."""

    STARTED = "started"  # also anew, after a rollback
    WENT_ON = "went-on"
    APPROVED = "approved"  # somebody let the stage go on, once its gates pass
    PAUSED = "paused"
    FROZEN = "frozen"
    RESUMED = "resumed"
    NO_RETURN = "no-return"
    PUT_BACK = "put-back"  # somebody else had changed the weights
    ROLLED_BACK = "rolled-back"
    DONE = "done"


_BY_PHASE = {
    Phase.PAUSED: Happening.PAUSED,
    Phase.FROZEN: Happening.FROZEN,
    Phase.RUNNING: Happening.RESUMED,
    Phase.ROLLED_BACK: Happening.ROLLED_BACK,
    Phase.DONE: Happening.DONE,
}


def happened(before: Progress, after: Progress) -> Happening:
    """What led from *before* to *after*."""
    if after.tries != before.tries:
        return Happening.STARTED
    if after.stage != before.stage:
        return Happening.WENT_ON
    if after.phase is not before.phase:
        return _BY_PHASE[after.phase]
    if after.approved and not before.approved:
        return Happening.APPROVED
    if after.no_return and not before.no_return:
        return Happening.NO_RETURN
    return Happening.PUT_BACK


class Order(StrEnum):
    """What people ask for."""

    START = "start"
    ADVANCE = "advance"  # let this stage go on
    PAUSE = "pause"
    FREEZE = "freeze"
    RESUME = "resume"
    ROLLBACK = "rollback"
    NO_RETURN = "no-return"  # declare that going back would do harm


@dataclass(frozen=True, slots=True)
class Ordered:
    """Somebody gave an *order*; by *force* against what the gates or the plan say."""

    order: Order
    by: str = ""
    because: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """Another *look* was had, since the last one."""

    look: Look


@dataclass(frozen=True, slots=True)
class SharesChanged:
    """Somebody gave the candidate another *share* than it may get."""

    share: float


Event: TypeAlias = Ordered | Looked | SharesChanged


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the history: *what* happened, to which *share* of the requests it led."""

    what: str
    stage: str
    share: float
    by: str = ""
    because: str = ""
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Put *progress* in the store, in one step with the share that it allows and the *entry*."""

    progress: Progress
    entry: Entry


@dataclass(frozen=True, slots=True)
class Save:
    """Put *progress* in the store; losing it loses some evidence, and no more."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Refuse:
    """The order cannot be followed: *what* is in the way, and what *todo* about it."""

    what: str
    todo: str


Effect: TypeAlias = Commit | Save | Refuse
