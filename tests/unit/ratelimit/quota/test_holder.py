from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.kernel.time import Instant
from moreton.ratelimit.quota.core.division import FLOOR, Quota
from moreton.ratelimit.quota.core.holder import (
    CLOSED,
    OPEN,
    Act,
    Applied,
    Assured,
    Counted,
    Entered,
    Granted,
    HeldQuota,
    Holder,
    QuotasHeld,
    Tell,
)
from moreton.ratelimit.quota.core.messages import Grants, Report

START = Instant(0)
LATER = START + timedelta(seconds=5)
GRANTS = Grants(3, {"q": {"a": 0.7, "b": 0.3}}, lives={"a": 9, "b": 8})


def held(outage: float | None = None) -> QuotasHeld:
    return QuotasHeld({"q": HeldQuota(Quota(100.0, 100), outage)})


def assured(outage: float | None = None) -> Holder:
    """One that acts by 0.7, until `LATER`."""
    holder = Holder("a")
    holder.handle(held(outage), START)
    holder.handle(Entered(LATER, 9), START)
    holder.handle(Granted(GRANTS), START)
    holder.handle(Applied({"q": 0.7}), START)
    return holder


def test_a_newcomer_acts_by_the_floor_and_says_so() -> None:
    holder = Holder("a")
    assert holder.handle(held(), START) == [Act({"q": FLOOR})]
    assert holder.handle(Entered(LATER, 9), START) == [Tell(Report({"q": 0.0}, {"q": FLOOR}, 0, 9))]


def test_it_acts_by_what_it_was_granted() -> None:
    holder = Holder("a")
    holder.handle(held(), START)
    holder.handle(Entered(LATER, 9), START)
    effects = holder.handle(Granted(GRANTS), START)
    assert effects == [Act({"q": 0.7}), Tell(Report({"q": 0.0}, {"q": 0.7}, 3, 9))]


def test_it_holds_the_larger_share_until_the_smaller_is_in_force() -> None:
    holder = assured()
    smaller = Grants(4, {"q": {"a": 0.2}}, lives={"a": 9})
    assert holder.handle(Granted(smaller), START) == [
        Act({"q": 0.2}),
        Tell(Report({"q": 0.0}, {"q": 0.7}, 4, 9)),
    ]
    assert holder.handle(Applied({"q": 0.7}), START) == []
    told = holder.handle(Applied({"q": 0.2}), START)
    assert told == [Tell(Report({"q": 0.0}, {"q": 0.2}, 4, 9))]


def test_older_grants_change_nothing() -> None:
    holder = assured()
    assert holder.handle(Granted(Grants(2, {"q": {"a": 0.1}}, lives={"a": 9})), START) == []


def test_other_demand_is_told_and_a_little_other_is_not() -> None:
    holder = assured()
    holder.handle(Counted({"q": 0}), START)
    half = START + timedelta(milliseconds=500)
    (told,) = holder.handle(Counted({"q": 10}), half)
    assert told == Tell(Report({"q": 20.0}, {"q": 0.7}, 3, 9))
    whole = half + timedelta(milliseconds=500)
    assert holder.handle(Counted({"q": 20}), whole) == []


def test_who_is_asked_for_more_than_the_limit_tells_no_further_rise() -> None:
    holder = assured()
    holder.handle(Counted({"q": 0}), START)
    half = START + timedelta(milliseconds=500)
    assert len(holder.handle(Counted({"q": 500}), half)) == 1
    whole = half + timedelta(milliseconds=500)
    assert holder.handle(Counted({"q": 5000}), whole) == []


@pytest.mark.parametrize("share", [0.5, OPEN, CLOSED])
def test_one_that_nobody_counts_on_any_more_does_what_the_quota_says(share: float) -> None:
    holder = assured(share)
    assert holder.deadline() == LATER
    assert holder.wake(LATER) == [Act({"q": share})]


def test_one_that_is_to_keep_its_share_keeps_it() -> None:
    assert assured().wake(LATER) == []


def test_one_that_is_counted_on_again_says_all_of_it_again() -> None:
    holder = assured(CLOSED)
    holder.wake(LATER)
    effects = holder.handle(Assured(LATER + timedelta(seconds=5)), LATER)
    assert effects[0] == Act({"q": 0.7})
    assert [type(each) for each in effects] == [Act, Tell]


def test_one_that_enters_anew_does_not_act_by_what_it_had() -> None:
    holder = assured(0.5)
    assert holder.handle(Entered(LATER, 10), START)[0] == Act({"q": FLOOR})
    # Whoever divides has not noticed yet.
    older = Grants(5, {"q": {"a": 0.7}}, lives={"a": 9})
    assert Act({"q": 0.7}) not in holder.handle(Granted(older), START)
    newer = Grants(6, {"q": {"a": 0.4}}, lives={"a": 10})
    assert holder.handle(Granted(newer), START)[0] == Act({"q": 0.4})


def test_one_that_keeps_begins_with_what_it_was_granted_in_an_earlier_life() -> None:
    holder = Holder("a")
    holder.handle(Granted(GRANTS), START)
    assert holder.handle(held(), START) == [Act({"q": 0.7})]


def test_a_quota_that_went_is_acted_by_no_more() -> None:
    holder = assured()
    assert holder.handle(QuotasHeld({}), START)[0] == Act({})


@pytest.mark.parametrize("outage", [-0.1, float("nan")])
def test_a_share_below_nothing_is_refused(outage: float) -> None:
    with pytest.raises(ValueError, match="outage is"):
        HeldQuota(Quota(1.0, 1), outage)
