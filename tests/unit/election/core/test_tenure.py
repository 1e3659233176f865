"""How long a lease is trusted: rule by rule, and against any order of events."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.election.core.tenure import (
    MARGIN,
    LeaseGone,
    Lose,
    Renew,
    Renewed,
    Tenure,
    TenureEvent,
    TurnCame,
    Unanswered,
)
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant

TTL = timedelta(seconds=9)
START = Instant(0)
RENEW = Renew(timedelta(seconds=8.1))


def at(seconds: float) -> Instant:
    return START + timedelta(seconds=seconds)


def tenure(ttl: timedelta = TTL) -> Tenure:
    return Tenure(ttl, seeded_rng(1), asked=START)


def holding() -> Tenure:
    machine = tenure()
    assert machine.handle(TurnCame(), START) == ()
    return machine


def lost(reason: str, effects: object) -> bool:
    return (
        isinstance(effects, tuple)
        and len(effects) == 1
        and isinstance(effects[0], Lose)
        and reason in effects[0].reason
    )


def test_lease_is_renewed_after_a_third_of_its_time_with_jitter() -> None:
    machine = tenure()
    due = machine.deadline()
    assert due is not None
    assert at(2.7) <= due <= at(3)
    assert machine.wake(at(2.6)) == ()
    assert machine.wake(due) == (RENEW,)


def test_store_that_is_slow_to_answer_is_asked_again_after_another_third() -> None:
    machine = holding()
    assert machine.wake(at(3)) == (RENEW,)
    assert machine.wake(at(5)) == ()
    assert machine.wake(at(6)) == (RENEW,)
    assert machine.wake(at(8)) == ()
    assert machine.deadline() == machine.held_until


def test_slow_answer_counts_and_asks_for_no_third_request() -> None:
    machine = holding()
    machine.wake(at(3))
    machine.wake(at(6))
    assert machine.handle(Renewed(at(3), TTL), at(7)) == ()
    assert machine.held_until == at(3 + 8.1)
    due = machine.deadline()
    assert due is not None
    assert at(8.7) <= due <= at(9)


def test_renewal_counts_from_before_it_was_sent() -> None:
    machine = holding()
    machine.wake(at(3))
    assert machine.handle(Renewed(at(3), TTL), at(5)) == ()
    assert machine.held_until == at(3 + 8.1)


def test_lease_of_a_shorter_time_than_was_asked_for_is_trusted_for_that() -> None:
    machine = holding()
    machine.wake(at(3))
    machine.handle(Renewed(at(3), timedelta(seconds=7)), at(3))
    assert machine.held_until == at(3 + 6.3)


def test_lease_of_a_longer_time_than_was_asked_for_is_not_trusted_longer() -> None:
    machine = holding()
    machine.wake(at(3))
    machine.handle(Renewed(at(3), timedelta(seconds=60)), at(3))
    assert machine.held_until == at(3 + 8.1)


def test_renewal_without_an_answer_is_tried_again_soon() -> None:
    machine = holding()
    machine.wake(at(3))
    assert machine.handle(Unanswered("no route"), at(3)) == ()
    due = machine.deadline()
    assert due is not None
    assert at(3) < due <= at(3.75)
    assert machine.wake(due) == (RENEW,)


def test_what_is_held_is_lost_a_tenth_before_the_lease_can_end() -> None:
    machine = holding()
    machine.wake(at(3))
    machine.handle(Unanswered("no route"), at(8))
    assert machine.wake(at(8.05)) == ()
    effects = machine.wake(at(8.1))
    assert lost("its lease of 9s could not be renewed in time, no route", effects)
    assert machine.deadline() is None


def test_renewal_that_is_answered_too_late_saves_nothing() -> None:
    machine = holding()
    machine.wake(at(3))
    assert lost("", machine.handle(Renewed(at(-3), TTL), at(9)))


def test_process_that_was_stopped_is_told_so() -> None:
    assert lost("this process was stopped", holding().wake(at(100)))


def test_lease_that_the_store_does_not_have_is_lost_at_once() -> None:
    for machine in (tenure(), holding()):
        machine.wake(at(3))
        assert lost(
            "its entry was deleted", machine.handle(LeaseGone("its entry was deleted"), at(4))
        )


def test_place_in_a_queue_outlives_a_store_that_does_not_answer() -> None:
    machine = tenure()
    for second in range(3, 60, 2):
        assert not any(isinstance(e, Lose) for e in machine.wake(at(second)))
        machine.handle(Unanswered("no route"), at(second + 1))
    machine.wake(at(61))
    assert machine.handle(Renewed(at(61), TTL), at(62)) == ()
    assert machine.handle(TurnCame(), at(62)) == ()


def test_turn_that_comes_when_the_lease_is_over_is_lost() -> None:
    assert lost("", tenure().handle(TurnCame(), at(8.1)))


def test_nothing_follows_a_loss() -> None:
    machine = holding()
    machine.wake(at(9))
    for event in (Renewed(at(9), TTL), TurnCame(), LeaseGone("x"), Unanswered("x")):
        assert machine.handle(event, at(9)) == ()
    assert machine.wake(at(10)) == ()
    assert machine.deadline() is None


steps = st.lists(
    st.tuples(st.floats(0, 5), st.sampled_from(["renewed", "overtaken", "lost answer", "wake"])),
    max_size=60,
)


@pytest.mark.slow
@given(steps=steps, seed=st.integers(0, 1000))
def test_holder_never_trusts_a_lease_for_longer_than_the_store_promised(
    steps: list[tuple[float, str]], seed: int
) -> None:
    """Whatever happens, who is not told to stop could rely on an answered request."""
    machine = Tenure(TTL, seeded_rng(seed), asked=START)
    machine.handle(TurnCame(), START)
    now, promised, ended = 0.0, 9.0, False
    asked: list[float] = []
    for step, kind in steps:
        now += step
        effects = list(machine.wake(at(now)))
        if any(isinstance(effect, Renew) for effect in effects):
            asked.append(now)
        event: TenureEvent | None = None
        if kind in {"renewed", "overtaken"} and asked:
            # Answers may come in any order.
            sent = asked.pop(-1 if kind == "renewed" else 0)
            promised = max(promised, sent + 9)
            event = Renewed(at(sent), TTL)
        elif kind == "lost answer" and asked:
            asked.pop()
            event = Unanswered("no answer")
        if event is not None:
            effects += machine.handle(event, at(now))
        ended |= any(isinstance(effect, Lose) for effect in effects)
        assert ended or now < promised - 9 * MARGIN + 1e-6
        deadline = machine.deadline()
        assert (deadline is None) == ended


@pytest.mark.parametrize("ttl", [timedelta(milliseconds=100), timedelta(days=1)])
def test_deadline_comes_before_the_end_of_any_lease(ttl: timedelta) -> None:
    machine = Tenure(ttl, seeded_rng(1), asked=START)
    due = machine.deadline()
    assert due is not None
    assert START + ttl * 0.29 < due < START + ttl * 0.34
