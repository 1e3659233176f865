"""What a candidate does not answer in time has failed, in whatever stage."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from moreton.gateway.core.moves import Move, move_document, move_from
from moreton.strangler.rollout.config import MigrationModel
from moreton.strangler.rollout.core.documents import (
    plan_document,
    plan_from,
    side_document,
    side_from,
)
from moreton.strangler.rollout.core.plan import ErrorGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Phase, Progress, move_of
from moreton.strangler.rollout.core.sides import Evidence, Side
from moreton.strangler.rollout.core.verdicts import Outcome, judge

SECOND = timedelta(seconds=1)


def planned(**more: Any) -> Plan:
    said = {"route": "r", "from": "old", "to": "new", "stages": ["shadow", "10%", "100%"], **more}
    return MigrationModel.model_validate(said).as_value("move")


def test_candidate_has_thirty_seconds_to_begin_an_answer() -> None:
    move = move_of(planned(), Progress(Phase.RUNNING))
    assert move is not None
    assert move.answer_within == 30 * SECOND


@pytest.mark.parametrize(
    ("within", "holds"), [("0", (1, 1, 1, 0)), ("5s", (1, 5, 5, 5)), ("1ms", (1, 1, 1, 0.001))]
)
def test_stages_last_until_what_is_silent_has_failed(within: str, holds: tuple[float, ...]) -> None:
    plan = planned(hold="1s", soak="1us", answer_within=within)
    assert [each.hold.total_seconds() for each in plan.stages] == pytest.approx(holds, abs=1e-5)
    assert (plan.answer_within is None) == (within == "0")


def test_plan_that_was_stored_without_it_goes_on_as_it_was() -> None:
    plan = planned(answer_within="5s")
    stored = json.loads(json.dumps(plan_document(plan)))
    assert plan_from(stored) == plan
    del stored["answer_within"]
    move = move_of(plan_from(stored), Progress(Phase.RUNNING))
    assert move is not None
    assert "answer_within" not in move_document(move)


@pytest.mark.parametrize("within", [None, 5 * SECOND, timedelta(milliseconds=50)])
def test_move_comes_back_from_the_store_as_it_was(within: timedelta | None) -> None:
    move = Move("new", answer_within=within)
    assert move_from(json.loads(json.dumps(move_document(move)))) == move


def test_answers_that_never_came_are_named_among_the_errors() -> None:
    plan = Plan("move", "r", "old", "new", (Stage("100%", 1.0),), (ErrorGate(),))
    seen = Evidence(Side(100), Side(100, 60, silent=50))
    (verdict,) = judge(plan, plan.stages[0], seen, Side(100))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.why.startswith("60.00% of 100 failed (50 for want of an answer, 504), beside ")


def test_silence_is_counted_on_top_of_what_was_and_kept() -> None:
    before, after = Side(10, 2, silent=1), Side(30, 9, silent=5)
    assert after.since(before) == Side(20, 7, silent=4)
    assert after.since(before) + before == after
    assert side_from(json.loads(json.dumps(side_document(after)))) == after
    assert side_from({"requests": 3, "errors": 1, "times": []}) == Side(3, 1)
