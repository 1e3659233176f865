"""With budgets and the answer field a fault stays one; without them it becomes an outage."""

from __future__ import annotations

import pytest

from moreton.sim.storm import Storm, run_storm

pytestmark = pytest.mark.slow

SEEDS = range(5)
BUDGET_WINDOW_SECONDS = 10.0
AMPLIFICATION_MAX = 1.3
# Errors at once; a service that slows down twentyfold, so that callers give up on work it does;
# and the same with little capacity to spare: 75 a second under a load of 50 and retries of 10.
PROTECTED = {
    "errors": Storm(protected=True),
    "slow": Storm(protected=True, slowed=20),
    "slow and tight": Storm(protected=True, slowed=20, capacity=75),
}
UNPROTECTED = Storm(
    protected=False, calls_per_second=20, capacity=40, queue=40, calm=5, fault=8, after=30
)


@pytest.mark.parametrize("storm", PROTECTED.values(), ids=PROTECTED)
@pytest.mark.parametrize("seed", SEEDS)
def test_budgets_and_the_answer_field_keep_the_load_below_a_third_more(
    storm: Storm, seed: int
) -> None:
    result = run_storm(storm, seed=seed)
    assert result.failed_fault > 0.9 * result.calls_fault  # the fault did happen
    assert 1 < result.amplification <= AMPLIFICATION_MAX


@pytest.mark.parametrize("storm", PROTECTED.values(), ids=PROTECTED)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_service_recovers_within_one_budget_window(storm: Storm, seed: int) -> None:
    result = run_storm(storm, seed=seed)
    assert result.failed_fault > 0
    assert result.recovery is not None
    assert result.recovery <= BUDGET_WINDOW_SECONDS


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_without_them_one_call_becomes_243_requests_and_nothing_recovers(seed: int) -> None:
    result = run_storm(UNPROTECTED, seed=seed)
    assert result.failed_calm <= 2  # those that were under way when the fault began
    assert result.amplification == 3**5
    assert result.recovery is None


def test_a_storm_without_a_fault_fails_no_call_and_repeats_none() -> None:
    calm = Storm(protected=True, calm=0, fault=20, slowed=1.0000001, after=10)
    result = run_storm(calm, seed=1)
    assert result.failed_fault == 0
    assert result.amplification == 1
    assert result.recovery == 0


def test_a_seed_repeats_a_storm() -> None:
    storm = PROTECTED["slow"]
    assert run_storm(storm, seed=2) == run_storm(storm, seed=2)
    assert run_storm(storm, seed=2) != run_storm(storm, seed=3)
