from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.transactions.saga.core.errors import DecisionRefused, HistoryDoesNotFit
from moreton.transactions.saga.core.events import (
    Append,
    Attempt,
    Effect,
    Event,
    Failed,
    Failure,
    Halt,
    Rest,
    Succeeded,
    Told,
    Undid,
    Undo,
)
from moreton.transactions.saga.core.machine import SagaMachine
from moreton.transactions.saga.core.plan import (
    Act,
    Attempts,
    Kind,
    Parallel,
    Plan,
    Series,
    StepPlan,
)
from moreton.transactions.saga.core.records import Decision, Record, StepDone, StepUndone

T0 = Instant(1_000_000_000)
PLAN = Plan(
    "order",
    1,
    Series(
        (
            StepPlan("stock"),
            StepPlan("money", attempts=Attempts(2), undo_attempts=Attempts(2)),
            StepPlan("ship", Kind.PIVOT, has_undo=False),
            StepPlan("mail", Kind.RETRIABLE, has_undo=False),
        )
    ),
)


class Played:
    def __init__(
        self, plan: Plan = PLAN, records: Sequence[Record] = (), now: Instant = T0
    ) -> None:
        self.machine = SagaMachine(plan, started=T0, rng=seeded_rng(1), records=records)
        self.log = list(records)
        self.now = now
        self.asked = self._take(self.machine.wake(now))

    def tell(self, *events: Event) -> str:
        for event in events:
            self.asked = self._take(self.machine.handle(event, self.now))
        return self.asked

    def wake(self, seconds: float) -> str:
        self.now = T0 + timedelta(seconds=seconds)
        self.asked = self._take(self.machine.wake(self.now))
        return self.asked

    def _take(self, effects: Sequence[Effect]) -> str:
        words = []
        for effect in effects:
            match effect:
                case Append(record):
                    self.log.append(record)
                case Attempt(step):
                    words.append(f"do {step}")
                case Undo(step, result=result):
                    words.append(f"undo {step} {result}")
                case Rest(status):
                    words.append(status)
                case _:
                    words.append(type(effect).__name__.lower())
        return ", ".join(words)


def ok(step: str) -> Succeeded:
    return Succeeded(step, f'"{step}"')


def no(step: str, failure: Failure = Failure.DECLINED) -> Failed:
    return Failed(step, "no", failure)


def test_steps_follow_each_other_and_the_saga_completes() -> None:
    played = Played()
    assert played.asked == "do stock"
    assert played.tell(ok("stock")) == "do money"
    assert played.tell(ok("money")) == "do ship"
    assert played.tell(ok("ship")) == "do mail"
    assert played.tell(ok("mail")) == "completed"


def test_declined_step_is_not_undone_and_those_before_it_are() -> None:
    played = Played()
    assert played.tell(ok("stock"), no("money")) == 'undo stock "stock"'
    assert played.tell(Undid("stock")) == "compensated"


def test_step_that_failed_otherwise_is_undone_too_without_a_result() -> None:
    played = Played()
    assert played.tell(ok("stock"), no("money", Failure.FINAL)) == "undo money None"
    assert played.tell(Undid("money")) == 'undo stock "stock"'


def test_transient_failure_is_tried_again_when_its_wait_is_over() -> None:
    played = Played()
    assert played.tell(ok("stock"), no("money", Failure.TRANSIENT)) == ""
    due = played.machine.deadline()
    assert due is not None
    assert T0 < due <= T0 + timedelta(seconds=1)
    assert played.wake(1) == "do money"
    assert played.tell(no("money", Failure.TRANSIENT)) == "undo money None"


def test_attempts_and_their_wait_survive_a_crash() -> None:
    played = Played()
    played.tell(ok("stock"), no("money", Failure.TRANSIENT))
    again = Played(records=played.log)
    assert again.asked == ""
    assert again.machine.deadline() == played.machine.deadline()
    assert again.wake(1) == "do money"
    assert again.tell(no("money", Failure.TRANSIENT)) == "undo money None"


def test_pivot_that_failed_without_an_answer_is_parked_for_a_person() -> None:
    played = Played()
    assert played.tell(ok("stock"), ok("money"), no("ship", Failure.FINAL)) == "parked"
    for decision, then in [
        (Decision.RETRY, "do ship"),
        (Decision.SKIP, "do mail"),
        (Decision.COMPENSATE, 'undo money "money"'),
    ]:
        assert Played(records=played.log).tell(Told(decision)) == then


def test_pivot_that_declined_sends_the_saga_back() -> None:
    assert Played().tell(ok("stock"), ok("money"), no("ship")) == 'undo money "money"'


def test_nothing_is_undone_after_the_pivot() -> None:
    played = Played()
    assert played.tell(ok("stock"), ok("money"), ok("ship"), no("mail")) == "parked"
    with pytest.raises(DecisionRefused, match='"ship" was done'):
        played.tell(Told(Decision.COMPENSATE))
    assert played.tell(Told(Decision.SKIP)) == "completed"


def test_undo_that_cannot_succeed_is_parked_and_nothing_before_it_is_touched() -> None:
    played = Played()
    played.tell(ok("stock"), ok("money"), no("ship"), no("money", Failure.TRANSIENT))
    assert played.wake(1) == 'undo money "money"'
    assert played.tell(no("money", Failure.TRANSIENT)) == "parked"
    assert Played(records=played.log).asked == "parked"
    assert played.tell(Told(Decision.SKIP)) == 'undo stock "stock"'


def test_decisions_that_do_not_fit_are_refused() -> None:
    for decision in (Decision.RETRY, Decision.SKIP, Decision.RESUME):
        with pytest.raises(DecisionRefused, match=decision):
            Played().tell(Told(decision))
    played = Played()
    played.tell(ok("stock"), no("money"))
    with pytest.raises(DecisionRefused, match="goes back already"):
        played.tell(Told(Decision.COMPENSATE))


def test_halted_saga_goes_on_when_told_to_resume() -> None:
    played = Played()
    assert played.tell(Halt("it was taken over ten times")) == "parked"
    again = Played(records=played.log)
    assert again.asked == "parked"
    assert again.tell(Told(Decision.RESUME)) == "do stock"


SIDES = Plan(
    "trip", 1, Series((Parallel((StepPlan("hotel"), StepPlan("flight"))), StepPlan("car")))
)


def test_branches_run_at_once_and_are_undone_at_once() -> None:
    played = Played(SIDES)
    assert played.asked == "do hotel, do flight"
    assert played.tell(ok("flight")) == ""
    assert played.tell(ok("hotel")) == "do car"
    assert played.tell(no("car")) == 'undo hotel "hotel", undo flight "flight"'
    assert played.tell(Undid("hotel")) == ""
    assert played.tell(Undid("flight")) == "compensated"


def test_no_undo_begins_while_a_branch_still_acts() -> None:
    played = Played(SIDES)
    assert played.tell(no("hotel")) == ""
    assert played.tell(ok("flight")) == 'undo flight "flight"'


def test_branch_that_was_under_way_in_a_crash_is_undone_without_a_result() -> None:
    played = Played(SIDES)
    played.tell(no("hotel"))
    assert Played(SIDES, records=played.log).asked == "undo flight None"


def test_saga_goes_back_by_itself_at_its_deadline_but_not_past_the_pivot() -> None:
    plan = Plan("order", 1, PLAN.root, deadline=5.0)
    played = Played(plan)
    played.tell(ok("stock"))
    played.wake(5)
    assert played.tell(ok("money")) == 'undo money "money"'
    late = Played(plan)
    late.tell(ok("stock"), ok("money"))
    assert late.machine.deadline() is None
    assert late.wake(60) == ""
    assert late.tell(ok("ship")) == "do mail"


def test_pause_and_signal_end_by_time_also_after_a_crash() -> None:
    rest = StepPlan("rest", act=Act.PAUSE, has_undo=False, attempts=Attempts(timeout=60.0))
    approval = StepPlan("approval", act=Act.SIGNAL, has_undo=False, attempts=Attempts(timeout=60.0))
    plan = Plan("order", 1, Series((StepPlan("stock"), rest, approval)))
    played = Played(plan)
    assert played.tell(ok("stock")) == "await"
    assert played.machine.is_idle
    later = Played(plan, records=played.log, now=T0 + timedelta(seconds=60))
    assert later.asked == "await"
    assert later.machine.deadline() == T0 + timedelta(seconds=120)
    assert later.wake(120) == 'undo stock "stock"'


def test_log_that_no_run_could_have_written_is_refused() -> None:
    for records in ([StepDone("mail", "1")], [StepUndone("stock")], [StepDone("other", "1")]):
        with pytest.raises(HistoryDoesNotFit):
            Played(records=records)
