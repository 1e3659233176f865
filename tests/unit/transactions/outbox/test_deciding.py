from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.resilience import Backoff
from moreton.transactions.outbox import Event, OnDead, Patience
from moreton.transactions.outbox.core.deciding import Handle, Interest, SetAside, plan
from moreton.transactions.outbox.core.event import NotAnEvent

INTEREST = Interest(handled={"placed", "paid"}, ignored={"viewed"})


def event(id_: str, type_: str = "placed", subject: str = "a") -> Event:
    return Event(type_, None, subject, "/s", id_)


def names(*events: Event | NotAnEvent) -> set[tuple[str, str]]:
    return {(one.source, one.id) for one in events}


def test_fresh_events_are_handled_in_order() -> None:
    events = [event("1"), event("2", "paid"), event("3")]
    steps = plan(events, fresh=names(*events), held=(), interest=INTEREST)
    assert steps == [Handle(one) for one in events]


def test_event_that_was_here_before_is_passed_over() -> None:
    events = [event("1"), event("2")]
    steps = plan(events, fresh=names(events[1]), held=(), interest=INTEREST)
    assert steps == [Handle(events[1])]


def test_event_twice_in_one_batch_is_handled_once() -> None:
    twice = [event("1"), event("1")]
    assert plan(twice, fresh=names(*twice), held=(), interest=INTEREST) == [Handle(twice[0])]


def test_event_of_a_held_key_waits_behind_it_and_others_go_on() -> None:
    events = [event("1", subject="a"), event("2", subject="b")]
    steps = plan(events, fresh=names(*events), held={("/s", "a")}, interest=INTEREST)
    assert steps == [
        SetAside(events[0], "behind another", dead=False, holds=True),
        Handle(events[1]),
    ]


def test_same_key_of_another_source_does_not_wait() -> None:
    one = event("1", subject="a")
    steps = plan([one], fresh=names(one), held={("/other", "a")}, interest=INTEREST)
    assert steps == [Handle(one)]


def test_event_that_nobody_handles_is_dead_and_holds_nobody() -> None:
    lost, next_ = event("1", "shipped"), event("2")
    steps = plan([lost, next_], fresh=names(lost, next_), held=(), interest=INTEREST)
    (aside, handled) = steps
    assert isinstance(aside, SetAside)
    assert (aside.dead, aside.holds) == (True, False)
    assert "no handler for shipped" in aside.reason
    assert handled == Handle(next_)


def test_what_is_no_event_is_dead() -> None:
    bad = NotAnEvent("x", "it is not JSON")
    (aside,) = plan([bad], fresh=names(bad), held=(), interest=INTEREST)
    assert isinstance(aside, SetAside)
    assert aside.dead


def test_interest_leaves_out_what_is_ignored_alone() -> None:
    assert INTEREST.concerns(event("1"))
    assert INTEREST.concerns(event("1", "shipped"))
    assert not INTEREST.concerns(event("1", "viewed"))
    assert not Interest(handled=(), ignored={"*"}).concerns(event("1", "shipped"))
    assert Interest(handled=(), ignored={"*"}).concerns(NotAnEvent("x", "y"))


def test_failure_is_tried_again_later_each_time_and_then_dead() -> None:
    patience = Patience(3, Backoff.patient())
    waits = []
    for attempts in (1, 2):
        step = patience.after(
            event("1"), attempts, "no", final=False, on_dead=OnDead.PARK, rng=seeded_rng(1)
        )
        assert not step.dead
        assert step.holds
        waits.append(step.wait)
    assert waits == [timedelta(seconds=2), timedelta(seconds=6)]
    last = patience.after(event("1"), 3, "no", final=False, on_dead=OnDead.PARK, rng=seeded_rng(1))
    assert last.dead


@pytest.mark.parametrize(
    ("on_dead", "holds"), [(OnDead.PARK, True), (OnDead.BLOCK, True), (OnDead.SKIP, False)]
)
def test_final_failure_is_dead_at_once_and_holds_as_told(
    on_dead: OnDead,
    holds: bool,  # noqa: FBT001
) -> None:
    step = Patience().after(event("1"), 1, "never", final=True, on_dead=on_dead, rng=seeded_rng(1))
    assert (step.dead, step.holds) == (True, holds)
