from __future__ import annotations

import pytest

from moreton.transactions.saga.core.errors import SagaIllDefined
from moreton.transactions.saga.core.plan import (
    Act,
    Kind,
    Node,
    Parallel,
    Plan,
    Series,
    StepPlan,
    plan_of,
)

A, B, C = StepPlan("a"), StepPlan("b"), StepPlan("c")
BARE = StepPlan("bare", has_undo=False)
PAY = StepPlan("pay", Kind.PIVOT, has_undo=False)
SEND = StepPlan("send", Kind.RETRIABLE, has_undo=False)


def plan(*parts: Node) -> Plan:
    return Plan("order", 1, Series(parts))


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ((BARE, PAY), 'step "bare" has no undo'),
        ((BARE,), 'step "bare" has no undo'),
        ((PAY, StepPlan("pay2", Kind.PIVOT, has_undo=False)), 'pivots "pay" and "pay2"'),
        ((A, A), 'step "a" is there twice'),
        ((PAY, A), 'step "a" comes after the point of no return'),
        ((SEND, A), 'step "a" comes after the point of no return'),
        ((SEND, PAY), '"send" is retriable and comes before the pivot'),
        ((Parallel((A, PAY)),), 'pivot "pay" runs beside "a"'),
        ((Parallel((A, SEND)),), 'step "a" runs beside a step that cannot be undone'),
    ],
)
def test_plan_that_could_not_keep_its_promise_is_refused(
    parts: tuple[Node, ...], fault: str
) -> None:
    with pytest.raises(SagaIllDefined) as caught:
        plan(*parts)
    assert any(fault in line for line in caught.value.faults), caught.value


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SagaIllDefined) as caught:
        plan(BARE, A, A, PAY, C)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (A, B, PAY, SEND),
        (A, Parallel((B, C)), PAY),
        (PAY, Parallel((SEND, StepPlan("tell", Kind.RETRIABLE, has_undo=False)))),
        (StepPlan("look", has_undo=False, harmless=True), PAY),
        (StepPlan("approval", act=Act.SIGNAL, has_undo=False), PAY),
    ],
)
def test_plan_that_can_keep_its_promise_comes_back_from_its_shape(parts: tuple[Node, ...]) -> None:
    made = plan(*parts)
    assert plan_of(made.shape()).fingerprint == made.fingerprint


def test_what_follows_a_parallel_waits_for_all_of_its_ends() -> None:
    made = plan(A, Parallel((Series((B, C)), StepPlan("d"))), StepPlan("e"))
    before = {
        step.name: {made.steps[j].name for j in made.before[i]} for i, step in enumerate(made.steps)
    }
    assert before == {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"a"}, "e": {"c", "d"}}


def test_how_often_something_is_tried_is_no_part_of_the_fingerprint() -> None:
    other = StepPlan("a", attempts=PAY.attempts.__class__(most=9))
    assert plan(A).fingerprint == plan(other).fingerprint
    assert plan(A).fingerprint != plan(A, B).fingerprint
