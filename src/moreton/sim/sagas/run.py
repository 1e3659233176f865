"""One saga in virtual time, with a world that its steps change and a host that crashes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.sim.sagas.model import Model
from moreton.sim.sagas.plans import random_plan
from moreton.transactions.saga.core.events import (
    Append,
    Attempt,
    Effect,
    Event,
    Failed,
    Failure,
    Rest,
    Status,
    Succeeded,
    Told,
    Undid,
    Undo,
)
from moreton.transactions.saga.core.machine import SagaMachine
from moreton.transactions.saga.core.plan import Plan, StepPlan
from moreton.transactions.saga.core.records import (
    Aborted,
    Decision,
    Record,
    StepDone,
    StepFailed,
    StepUndone,
    UndoFailed,
    Verdict,
)

_TURNS_MAX = 2000


@dataclass(slots=True)
class Outcome:
    """How a run ended, and what happened on the way."""

    status: Status
    crashes: int = 0
    lost: int = 0  # attempts whose end no log knows, as the host crashed
    decisions: int = 0
    in_force: set[str] = field(default_factory=set)  # the effects that are left in the world


class _Run:
    def __init__(self, seed: int) -> None:
        self.rng = seeded_rng(seed)
        self.plan: Plan = random_plan(self.rng)
        self.log: list[Record] = []
        self.now = Instant(0)
        self.model = Model(self.plan.root)
        self.flying: list[Attempt | Undo] = []
        self.outcome = Outcome(Status.RUNNING)
        self.trouble = self.rng.random() * 0.5  # how likely things fail in this world
        self.machine = self._recover()

    def go(self) -> Outcome:
        self.perform(self.machine.wake(self.now))
        for _ in range(_TURNS_MAX):
            status = self.outcome.status
            if status.is_final:
                return self.outcome
            if status is Status.PARKED:
                self.decide()
            elif self.rng.random() < self.trouble * 0.2:
                self.crash()
            elif self.flying:
                self.land(self.flying.pop(self.rng.randrange(len(self.flying))))
            else:
                due = self.machine.deadline()
                assert due is not None, "nothing is under way, and nothing is due"
                self.now = max(self.now + timedelta(milliseconds=1), due)
                self.perform(self.machine.wake(self.now))
        raise AssertionError("the saga never ends")

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Append(record):
                    self.log.append(record)
                    self.note(record)
                case Attempt(step):
                    self.model.begins(step)
                    self.flying.append(effect)
                case Undo(step):
                    self.model.undo_begins(step)
                    self.flying.append(effect)
                case Rest(status):
                    self.model.rests(status)
                    self.outcome.status = status
                case _:
                    raise AssertionError(effect)

    def note(self, record: Record) -> None:
        match record:
            case StepDone(step):
                self.model.ends(self.step(step), "ok")
            case StepFailed(step, verdict=verdict):
                how = {"declined": "no"}.get(verdict, verdict.value)
                self.model.ends(self.step(step), how)
            case StepUndone(step):
                self.model.undo_ends(step, ok=True)
            case UndoFailed(step, again_at=None):
                self.model.undo_ends(step, ok=False)
            case Aborted():
                self.model.back = True
            case _:
                pass

    def land(self, effect: Attempt | Undo) -> None:
        """The attempt ends: well, badly after acting, badly before, or by an answer."""
        self.now += timedelta(milliseconds=1 + self.rng.randrange(50))
        fails = self.rng.random() < self.trouble
        failure = (Failure.TRANSIENT, Failure.FINAL, Failure.DECLINED)[self.rng.randrange(3)]
        undoing = isinstance(effect, Undo)
        # No answer of a step that took effect is a no: it speaks for all attempts under its key.
        if failure is Failure.DECLINED and (undoing or effect.step in self.outcome.in_force):
            failure = Failure.FINAL
        acts = not fails or (failure is not Failure.DECLINED and self.rng.random() < 0.5)
        if acts:
            self.act(effect)
        event: Event = Undid(effect.step) if undoing else Succeeded(effect.step, "1")
        if fails:
            event = Failed(effect.step, "trouble", failure)
        self.perform(self.machine.handle(event, self.now))

    def act(self, effect: Attempt | Undo) -> None:
        if isinstance(effect, Undo):
            self.outcome.in_force.discard(effect.step)
        else:
            self.outcome.in_force.add(effect.step)

    def crash(self) -> None:
        """What is under way may have acted or not; its end is told to nobody."""
        self.outcome.crashes += 1
        self.outcome.lost += len(self.flying)
        for effect in self.flying:
            if self.rng.random() < 0.5:
                self.act(effect)
        self.flying.clear()
        self.model.running.clear()
        self.machine = self._recover()
        self.perform(self.machine.wake(self.now))

    def decide(self) -> None:
        """A person looks into the world, repairs by hand what is skipped, and decides."""
        self.outcome.decisions += 1
        self.outcome.status = Status.RUNNING
        history = self.machine.history
        pivots = any(self.step(name).kind == "pivot" for name in self.model.stuck)
        choice = [Decision.RETRY, Decision.SKIP][self.rng.randrange(2)]
        if not history.backward and history.past_return() is None and (
            pivots or self.rng.random() < 0.3
        ):  # fmt: skip
            choice = Decision.COMPENSATE
        for name in self.model.stuck:
            if choice is Decision.SKIP and not history.backward:
                self.outcome.in_force.add(name)
                self.model.done.add(name)
            elif choice is not Decision.RETRY:
                self.outcome.in_force.discard(name)
                self.model.undone.add(name)
            elif not history.backward:
                self.model.ended.discard(name)
        self.model.stuck.clear()
        self.model.back = self.model.back or choice is Decision.COMPENSATE
        self.perform(self.machine.handle(Told(choice), self.now))

    def step(self, name: str) -> StepPlan:
        return self.plan.steps[self.plan.index[name]]

    def _recover(self) -> SagaMachine:
        return SagaMachine(self.plan, started=Instant(0), rng=self.rng, records=self.log)


def run_saga(seed: int) -> Outcome:
    """A random saga from its beginning to its end; the same for the same *seed*.

    Raises `AssertionError` when it does what the model does not allow, and when it ends with an
    effect in force that it should have undone, or without one that it should have.
    """
    run = _Run(seed)
    outcome = run.go()
    kept = {step.name for step in run.plan.steps}
    if outcome.status is Status.COMPENSATED:
        kept = set()
        outcome.in_force -= {step.name for step in run.plan.steps if step.harmless}
    assert outcome.in_force == kept, f"seed {seed}: {outcome}"
    return outcome


__all__ = ["Outcome", "Verdict", "run_saga"]
