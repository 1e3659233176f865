"""Random sagas under random faults meet the reference model, and leave the world as they say."""

from __future__ import annotations

from collections import Counter

import pytest

from moreton.sim.sagas import Model, run_saga
from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.machine import SagaMachine
from moreton.transactions.saga.core.plan import Kind, Series, StepPlan


def run_many(count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in range(count):
        outcome = run_saga(seed)
        seen[outcome.status] += 1
        seen["crashes"] += outcome.crashes
        seen["lost"] += outcome.lost
        seen["decisions"] += outcome.decisions
    return seen


def test_random_sagas_meet_the_reference_model() -> None:
    seen = run_many(400)
    assert seen[Status.COMPLETED] > 100
    assert seen[Status.COMPENSATED] > 100
    assert seen["crashes"] > 50
    assert seen["lost"] > 50
    assert seen["decisions"] > 50


@pytest.mark.soak
def test_ten_thousand_random_sagas_meet_the_reference_model() -> None:
    seen = run_many(10_000)
    assert seen[Status.COMPLETED] + seen[Status.COMPENSATED] == 10_000


def test_model_notices_a_machine_that_undoes_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SagaMachine, "_later", lambda *_: ())
    with pytest.raises(AssertionError, match="undone too early"):
        run_many(400)


def test_model_notices_a_machine_that_forgets_what_was_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SagaMachine, "_give_up", lambda *_: ())
    with pytest.raises(AssertionError):
        run_many(400)


def test_model_refuses_a_step_before_its_time() -> None:
    model = Model(Series((StepPlan("a"), StepPlan("b"))))
    with pytest.raises(AssertionError, match="b begins too early"):
        model.begins("b")


def test_model_parks_a_pivot_that_failed_without_an_answer() -> None:
    pay = StepPlan("pay", Kind.PIVOT, has_undo=False)
    model = Model(Series((pay,)))
    model.begins("pay")
    model.ends(pay, "unknown")
    model.rests("parked")
    with pytest.raises(AssertionError):
        model.rests("completed")
