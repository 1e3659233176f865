"""A migration goes from stage to stage by proof only, and back at any moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.kernel.time import Instant
from moreton.strangler.rollout.core.machine import Migration
from moreton.strangler.rollout.core.plan import (
    DifferenceGate,
    ErrorGate,
    LatencyGate,
    MetricGate,
    Plan,
    Stage,
)
from moreton.strangler.rollout.core.progress import (
    Commit,
    Effect,
    Order,
    Ordered,
    Phase,
    Progress,
    Refuse,
    SharesChanged,
)
from moreton.strangler.rollout.core.progress import Looked as LookedEvent
from moreton.strangler.rollout.core.sides import Bin, Look, Reading, Side
from moreton.strangler.rollout.core.verdicts import Outcome

SECOND = timedelta(seconds=1)
STAGES = (
    Stage("10%", 0.1, hold=5 * SECOND, requests=100),
    Stage("50%", 0.5, hold=5 * SECOND, requests=100),
    Stage("100%", 1.0, hold=5 * SECOND, requests=100),
)
PLAN = Plan("catalogue", "products", "shop", "catalogue", STAGES, (ErrorGate(),))
FINE = Look(Side(9000, 9), Side(1000, 1))
BAD = Look(Side(45, 0), Side(5, 5))
SLOW = {Bin(20, 1): 100}
FAST = {Bin(10, 1): 1000}


class Told:
    """A migration with a clock of its own."""

    def __init__(self, plan: Plan = PLAN, *, start: bool = True) -> None:
        self.machine = Migration(plan, Progress())
        self.now = Instant(0)
        if start:
            self.order(Order.START)

    def order(self, order: Order, *, force: bool = False) -> Effect:
        (effect,) = self.machine.handle(Ordered(order, "olive", "why", force), self.now)
        return effect

    def look(self, look: Look, times: int = 1) -> None:
        for _ in range(times):
            self.now += SECOND
            self.machine.handle(LookedEvent(look), self.now)

    @property
    def at(self) -> tuple[Phase, str, float]:
        return self.machine.progress.phase, self.machine.stage.name, self.machine.share


def with_stage(**changes: object) -> Plan:
    first = replace(STAGES[0], **changes)  # type: ignore[arg-type]
    return replace(PLAN, stages=(first, *STAGES[1:]))


def test_equal_candidate_gets_everything_in_the_order_of_the_stages() -> None:
    told = Told()
    seen = [told.at]
    for _ in range(30):
        told.look(FINE)
        if told.at != seen[-1]:
            seen.append(told.at)
    assert seen == [
        (Phase.RUNNING, "10%", 0.1),
        (Phase.RUNNING, "50%", 0.5),
        (Phase.RUNNING, "100%", 1.0),
        (Phase.DONE, "100%", 1.0),
    ]


def test_no_traffic_never_passes_however_long_it_waits() -> None:
    told = Told()
    told.look(Look(), times=1000)
    assert told.at == (Phase.RUNNING, "10%", 0.1)
    (verdict,) = told.machine.verdicts()
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.why == "the candidate answered nothing"


@pytest.mark.parametrize(
    ("baseline", "candidate", "why"),
    [
        (Side(9000), Side(), "the candidate answered nothing"),
        (Side(9000), Side(1000), "no answer of the candidate was timed yet"),
        (Side(), Side(1000, times=SLOW), "the baseline answered nothing"),
        (Side(9000), Side(1000, times=SLOW), "no answer of the baseline was timed yet"),
    ],
)
def test_what_was_not_timed_is_no_proof_of_silence(
    baseline: Side, candidate: Side, why: str
) -> None:
    told = Told(replace(PLAN, gates=(LatencyGate(),)))
    told.look(Look(baseline, candidate))
    (verdict,) = told.machine.verdicts()
    assert (verdict.outcome, verdict.why) == (Outcome.INCONCLUSIVE, why)


def test_traffic_of_the_candidate_alone_never_passes() -> None:
    told = Told()
    told.look(Look(Side(), Side(1000, 0)), times=100)
    assert told.at == (Phase.RUNNING, "10%", 0.1)


def test_candidate_that_fails_all_is_taken_back_also_while_nobody_asks_the_baseline() -> None:
    told = Told()
    told.look(Look(Side(), Side(30, 15)))
    assert told.at == (Phase.RUNNING, "10%", 0.1)
    told.look(Look(Side(), Side(60, 60)))
    assert told.at == (Phase.ROLLED_BACK, "10%", 0.0)


def test_five_failures_in_a_row_take_it_back() -> None:
    told = Told()
    told.look(BAD)
    assert told.at == (Phase.ROLLED_BACK, "10%", 0.0)
    assert told.machine.progress.reason == (
        "errors: 100.00% of 5 failed, beside 0.00% of 45; up to 1.00% more is tolerated"
    )


@pytest.mark.slow
def test_hours_of_good_answers_do_not_outweigh_that_it_fails_now() -> None:
    told = Told(with_stage(hold=timedelta(days=1)))
    told.look(FINE, times=3600)
    told.look(Look(Side(45, 0), Side(5, 5)), times=3)
    assert told.at == (Phase.ROLLED_BACK, "10%", 0.0)
    assert told.machine.progress.reason.startswith("errors: in the last seconds ")


@pytest.mark.parametrize("is_paused", [False, True])
def test_failures_take_it_back_also_while_it_waits(*, is_paused: bool) -> None:
    told = Told(with_stage(manual=True))
    told.look(FINE, times=10)
    if is_paused:
        told.order(Order.PAUSE)
    told.look(BAD, times=40)
    assert told.at == (Phase.ROLLED_BACK, "10%", 0.0)


def test_manual_stage_waits_until_somebody_lets_it_go_on() -> None:
    told = Told(with_stage(manual=True))
    told.look(FINE, times=20)
    assert told.at == (Phase.RUNNING, "10%", 0.1)
    assert isinstance(told.order(Order.ADVANCE), Commit)
    told.look(FINE)
    assert told.at == (Phase.RUNNING, "50%", 0.5)


def test_approval_does_not_stand_for_proof() -> None:
    told = Told(with_stage(manual=True))
    told.order(Order.ADVANCE)
    told.look(Look(), times=100)
    assert told.at == (Phase.RUNNING, "10%", 0.1)


def test_advance_without_proof_is_refused_and_says_what_is_missing() -> None:
    refused = Told().order(Order.ADVANCE)
    assert isinstance(refused, Refuse)
    assert refused.what == (
        'stage "10%" of migration "catalogue" waits for errors (the candidate answered nothing)'
    )


def test_advance_by_force_goes_on_without_proof_and_is_on_record() -> None:
    told = Told()
    committed = told.order(Order.ADVANCE, force=True)
    assert isinstance(committed, Commit)
    assert committed.entry.what == "went on by order with force"
    assert committed.entry.verdicts[0].outcome is Outcome.INCONCLUSIVE
    assert told.at == (Phase.RUNNING, "50%", 0.5)


def test_pause_stops_the_time_and_resume_goes_on_in_the_same_stage() -> None:
    told = Told()
    told.look(FINE, times=2)
    held = told.machine.progress.held
    told.order(Order.PAUSE)
    told.look(FINE, times=50)
    assert told.machine.progress.held == held
    assert told.at == (Phase.PAUSED, "10%", 0.1)
    told.order(Order.RESUME)
    assert told.at == (Phase.RUNNING, "10%", 0.1)


def test_what_nobody_watched_counts_for_a_few_seconds_at_most() -> None:
    told = Told(with_stage(hold=60 * SECOND))
    told.look(FINE)
    told.now += timedelta(hours=1)
    told.look(FINE)
    assert told.at == (Phase.RUNNING, "10%", 0.1)
    assert told.machine.progress.held == 5 * SECOND


def test_frozen_migration_moves_neither_way_by_itself() -> None:
    told = Told()
    told.order(Order.FREEZE)
    told.look(BAD, times=100)
    assert told.at == (Phase.FROZEN, "10%", 0.1)
    assert isinstance(told.order(Order.ROLLBACK), Commit)
    assert told.at == (Phase.ROLLED_BACK, "10%", 0.0)


def test_past_the_point_of_no_return_a_failure_freezes() -> None:
    told = Told(with_stage(no_return=True))
    told.look(BAD)
    assert told.at == (Phase.FROZEN, "10%", 0.1)
    assert isinstance(told.order(Order.ROLLBACK), Refuse)
    assert isinstance(told.order(Order.ROLLBACK, force=True), Commit)
    assert told.at == (Phase.ROLLED_BACK, "10%", 0.0)


def test_declared_point_of_no_return_counts_like_a_planned_one() -> None:
    told = Told()
    told.order(Order.NO_RETURN)
    told.look(BAD)
    assert told.at == (Phase.FROZEN, "10%", 0.1)


def test_second_rollback_changes_nothing_and_says_so() -> None:
    told = Told()
    told.order(Order.ROLLBACK)
    before = told.machine.progress
    refused = told.order(Order.ROLLBACK)
    assert isinstance(refused, Refuse)
    assert refused.what == 'migration "catalogue" is rolled-back'
    assert told.machine.progress == before


def test_rollback_taken_back_begins_at_the_first_stage_and_proves_all_anew() -> None:
    told = Told()
    told.look(FINE, times=8)
    assert told.at == (Phase.RUNNING, "50%", 0.5)
    told.order(Order.ROLLBACK)
    told.order(Order.RESUME)
    assert told.at == (Phase.RUNNING, "10%", 0.1)
    assert told.machine.progress.evidence.candidate.requests == 0
    assert told.machine.progress.tries == 2


def test_finished_migration_can_be_taken_back() -> None:
    told = Told()
    told.look(FINE, times=40)
    assert told.at == (Phase.DONE, "100%", 1.0)
    told.order(Order.ROLLBACK)
    assert told.at == (Phase.ROLLED_BACK, "100%", 0.0)


def test_finished_migration_goes_back_by_a_rollback_and_not_by_another_start() -> None:
    told = Told()
    told.look(FINE, times=40)
    told.order(Order.NO_RETURN)
    assert isinstance(told.order(Order.START), Refuse)
    assert isinstance(told.order(Order.ROLLBACK), Refuse)
    assert told.at == (Phase.DONE, "100%", 1.0)


def test_at_all_requests_the_candidate_is_held_against_what_the_baseline_answered_last() -> None:
    told = Told()
    while told.at[2] < 1.0:
        told.look(FINE)
    told.look(Look(Side(), Side(50, 25)))
    assert told.at == (Phase.ROLLED_BACK, "100%", 0.0)


def test_shares_that_somebody_set_are_put_back() -> None:
    told = Told()
    (effect,) = told.machine.handle(SharesChanged(0.8), told.now)
    assert isinstance(effect, Commit)
    assert effect.progress == told.machine.progress
    assert effect.entry.what == "80.0000% was set by somebody: put back"


def test_look_that_saw_nothing_keeps_it_where_it_is() -> None:
    told = Told()
    told.look(FINE, times=4)
    told.look(Look(trouble="Envoy does not answer"), times=100)
    assert told.at == (Phase.RUNNING, "10%", 0.1)


def test_slow_candidate_is_taken_back_and_a_fast_one_is_not() -> None:
    plan = replace(PLAN, gates=(LatencyGate(),))
    slow, equal = Told(plan), Told(plan)
    slow.look(Look(Side(1000, 0, FAST), Side(100, 0, SLOW)))
    assert slow.at[0] is Phase.ROLLED_BACK
    equal.look(Look(Side(1000, 0, FAST), Side(100, 0, {Bin(10, 1): 100})), times=8)
    assert equal.at == (Phase.RUNNING, "50%", 0.5)


def test_shadow_stage_is_judged_by_comparisons() -> None:
    shadow = Stage("shadow", 0.0, hold=SECOND, requests=1000, copies=0.1)
    first = replace(STAGES[0], copies=0.1)
    plan = replace(
        PLAN, stages=(shadow, first, *STAGES[1:]), gates=(ErrorGate(), DifferenceGate(0.01))
    )
    told = Told(plan)
    told.look(Look(Side(1000, 0)), times=50)
    assert told.at == (Phase.RUNNING, "shadow", 0.0)
    told.look(Look(Side(1000, 0), compared=1500, different=1))
    assert told.at == (Phase.RUNNING, "10%", 0.1)
    told.look(Look(compared=100, different=50))
    assert told.at == (Phase.ROLLED_BACK, "10%", 0.0)


def test_answers_that_may_differ_by_noise_prove_nothing_until_it_is_known() -> None:
    shadow = Stage("shadow", 0.0, hold=SECOND, requests=100, copies=1.0)
    told = Told(replace(PLAN, stages=(shadow, *STAGES), gates=(DifferenceGate(0.05),)))
    told.look(Look(Side(1000), compared=1000, undecided=200), times=3)
    assert told.at == (Phase.RUNNING, "shadow", 0.0)
    (verdict,) = told.machine.verdicts()
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "600 more differ, in what may be noise" in verdict.why
    told.look(Look(Side(9000), compared=9000))
    assert told.at == (Phase.RUNNING, "10%", 0.1)


def test_metric_out_of_bounds_fails_after_three_looks_and_a_missing_one_waits() -> None:
    gate = MetricGate("carts", "http://prometheus", "sum(carts)", highest=5.0)
    plan = replace(PLAN, gates=(gate,))
    missing = replace(FINE, readings={"carts": Reading(why="there is no such metric")})
    high = replace(FINE, readings={"carts": Reading(9.0)})
    low = replace(FINE, readings={"carts": Reading(1.0)})
    told = Told(plan)
    told.look(missing, times=100)
    assert told.at == (Phase.RUNNING, "10%", 0.1)
    assert told.machine.verdicts()[0].why == "there is no such metric"
    told.look(high, times=2)
    told.look(low)
    assert told.at == (Phase.RUNNING, "50%", 0.5)
    told.look(high, times=2)
    assert told.at[0] is Phase.RUNNING
    told.look(high)
    assert told.at == (Phase.ROLLED_BACK, "50%", 0.0)


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.1, 1.0), (-0.1, 1.0)])
def test_plan_that_does_not_rise_to_everything_is_no_plan(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="let them rise"):
        replace(PLAN, stages=tuple(Stage("s", share) for share in shares))
