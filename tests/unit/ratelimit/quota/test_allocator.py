from __future__ import annotations

import pytest

from moreton.ratelimit.quota.core.allocator import Allocator, Left, QuotasChanged, Reported
from moreton.ratelimit.quota.core.division import FLOOR, Quota
from moreton.ratelimit.quota.core.messages import Grants, Report

HUNDRED = {"q": Quota(100.0, 100)}


def report(demand: float, holds: float, seen: int) -> Report:
    return Report({"q": demand}, {"q": holds}, seen)


def with_two() -> Allocator:
    """Two that are asked for the same and act by a half each."""
    allocator = Allocator()
    allocator.handle(QuotasChanged(HUNDRED))
    allocator.handle(Reported("a", report(500.0, 0.0, 0)))
    (first,) = allocator.handle(Reported("b", report(500.0, 0.0, 0)))
    for name in ("a", "b"):
        allocator.handle(Reported(name, report(500.0, first.shares["q"][name], first.number)))
    for name in ("a", "b"):
        seen = allocator.grants()
        allocator.handle(Reported(name, report(500.0, seen.shares["q"][name], seen.number)))
    assert allocator.grants().shares == {"q": {"a": 0.5, "b": 0.5}}
    return allocator


def test_the_first_holder_has_all_of_it() -> None:
    allocator = Allocator()
    assert allocator.handle(QuotasChanged(HUNDRED)) == ()
    (grants,) = allocator.handle(Reported("a", report(0.0, FLOOR, 0)))
    assert grants == Grants(1, {"q": {"a": 1.0}}, {"q": {"a": 1.0}}, {"a": 0})


def test_a_share_is_raised_only_by_what_another_has_given_up() -> None:
    allocator = with_two()
    # Nothing is asked of a any more: it is lowered at once, and b has to wait.
    (lowered,) = allocator.handle(Reported("a", report(0.0, 0.5, allocator.grants().number)))
    assert lowered.shares == {"q": {"a": FLOOR, "b": 0.5}}
    # That it saw the grant is not enough while it may still act by the old share.
    assert allocator.handle(Reported("a", report(0.0, 0.5, lowered.number))) == ()
    (raised,) = allocator.handle(Reported("a", report(0.0, FLOOR, lowered.number)))
    assert raised.shares == {"q": {"a": FLOOR, "b": pytest.approx(1 - FLOOR)}}


def test_a_report_from_before_a_grant_gives_nothing_up() -> None:
    allocator = with_two()
    before = allocator.grants().number
    allocator.handle(Reported("a", report(0.0, 0.5, before)))
    assert allocator.handle(Reported("a", report(0.0, 0.1, before))) == ()


def test_the_share_of_one_that_left_goes_to_the_others() -> None:
    allocator = with_two()
    (grants,) = allocator.handle(Left("a"))
    assert grants.shares == {"q": {"b": 1.0}}
    assert allocator.holders == {"b"}


def test_one_that_begins_anew_acts_by_nothing_that_it_was_granted() -> None:
    allocator = with_two()
    newborn = Report({"q": 0.0}, {"q": FLOOR}, allocator.grants().number, life=2)
    (grants,) = allocator.handle(Reported("a", newborn))
    assert grants.shares["q"] == {"a": FLOOR, "b": pytest.approx(1 - FLOOR)}
    assert grants.lives == {"a": 2, "b": 0}


def test_one_whose_share_is_changed_all_the_time_gives_up_what_it_had() -> None:
    allocator = with_two()
    seen = allocator.grants().number
    for demand in (5.0, 9.0, 5.0, 9.0):
        allocator.handle(Reported("a", report(demand, 0.5, seen)))
        seen = allocator.grants().number - 1
    # It has seen one of the small ones, if not the last.
    (grants,) = allocator.handle(Reported("a", report(9.0, 0.09, seen)))
    assert grants.shares["q"]["b"] > 0.9


def test_small_changes_move_nothing() -> None:
    allocator = with_two()
    number = allocator.grants().number
    assert allocator.handle(Reported("a", report(495.0, 0.5, number))) == ()
    assert allocator.handle(Reported("a", report(48.7, 0.5, number))) == ()


def test_a_new_one_that_divides_counts_on_what_was_granted_before_it() -> None:
    left = Grants(7, {"q": {"a": 0.6, "b": 0.4}}, lives={"a": 0, "b": 0})
    allocator = Allocator(left)
    assert allocator.holders == {"a", "b"}
    allocator.handle(QuotasChanged(HUNDRED))
    # b is heard of first; a may act by its 0.6, and nobody knows what is asked of it.
    assert allocator.handle(Reported("b", report(500.0, 0.4, 7))) == ()
    (grants,) = allocator.handle(Left("a"))
    assert grants.number == 8
    assert grants.shares == {"q": {"b": pytest.approx(1.0)}}


def test_a_new_one_counts_on_what_was_lowered_and_not_seen() -> None:
    allocator = with_two()
    number = allocator.grants().number
    (lowered,) = allocator.handle(Reported("a", report(0.0, 0.5, number)))
    heir = Allocator(lowered)
    heir.handle(QuotasChanged(HUNDRED))
    heir.handle(Reported("a", report(0.0, 0.5, number)))
    heir.handle(Reported("b", report(500.0, 0.5, number)))
    assert heir.grants().shares["q"]["b"] == pytest.approx(0.5)


def test_a_quota_that_is_new_is_divided_at_once() -> None:
    allocator = with_two()
    (grants,) = allocator.handle(QuotasChanged(HUNDRED | {"p": Quota(5.0, 50)}))
    assert grants.shares["p"] == {"a": 0.5, "b": 0.5}


def test_a_quota_that_went_is_granted_no_more() -> None:
    allocator = with_two()
    allocator.handle(QuotasChanged({}))
    assert allocator.grants().shares == {}


def test_a_holder_with_a_broken_demand_takes_no_more_than_there_is() -> None:
    allocator = with_two()
    number = allocator.grants().number
    allocator.handle(Reported("a", report(1e308, 0.5, number)))
    assert sum(allocator.grants().shares["q"].values()) <= 1.0 + 1e-9
