"""What is compared of live traffic, and the numbers that come of it."""

from __future__ import annotations

from moreton.strangler.compare.config import CompareModel
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.live import SideEffects


def test_nothing_is_copied_until_somebody_says_what_else_requests_do() -> None:
    live = CompareModel(candidate="new").as_value("all", ["shop"])
    assert live.side_effects is SideEffects.UNKNOWN
    assert not live.may_copy


def test_the_only_service_that_answers_users_is_right_unless_told_otherwise() -> None:
    model = CompareModel(candidate="new")
    assert model.as_value("all", ["new", "shop"]).primary == "shop"
    assert model.as_value("all", ["shop", "other"]).primary == ""


def test_counts_tell_what_came_on_top() -> None:
    before, later = Counts(compared=3, different=1), Counts(compared=5, different=1, dropped=2)
    assert later.since(before) == Counts(compared=2, dropped=2)
    assert before + later.since(before) == later


def test_counts_that_began_anew_count_whole() -> None:
    assert Counts(compared=1).since(Counts(compared=3)) == Counts(compared=1)
