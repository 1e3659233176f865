from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.registry.core.standing import CheckResult, CheckStatus, Health
from moreton.registry.health import http_check, tcp_check, ttl_check
from unit.registry.health.clinic import (
    CRITICAL,
    EPOCH,
    FAST,
    PASSING,
    SECOND,
    WARNING,
    Clinic,
    as_told,
    instance,
)

pytestmark = pytest.mark.slow


def test_new_instance_is_looked_at_at_once_and_told_of_once() -> None:
    clinic = Clinic()
    clinic.see(instance())
    clinic.run(SECOND * 100)
    assert clinic.looks[0] == (timedelta(0), "a")
    assert clinic.statuses() == [(timedelta(0), "passing")], "what does not change writes nothing"
    assert 100 <= len(clinic.looks) <= 113


def test_instance_that_dies_is_told_of_after_two_failures() -> None:
    clinic = Clinic(found=lambda _, at: PASSING if at < SECOND * 10 else CRITICAL)
    clinic.see(instance())
    clinic.run(SECOND * 60)
    (_, passing), (died, critical) = clinic.statuses()
    assert (passing, critical) == ("passing", "critical")
    assert SECOND * 10 < died <= SECOND * 11.5


def test_single_failure_is_not_told_and_makes_it_look_again_soon() -> None:
    clinic = Clinic(found=lambda _, at: CRITICAL if SECOND * 10 <= at < SECOND * 11 else PASSING)
    check = http_check(interval="10s")
    clinic.see(instance("a", check))
    clinic.run(SECOND * 60)
    assert [status for _, status in clinic.statuses()] == ["passing"]


def test_recovery_is_told_after_as_many_successes_as_are_asked_for() -> None:
    clinic = Clinic(found=lambda _, at: CRITICAL if at < SECOND * 5 else PASSING)
    clinic.see(instance("a", replace(FAST, successes=3)))
    clinic.run(SECOND * 20)
    (_, first), (back, last) = clinic.statuses()
    assert (first, last) == ("critical", "passing")
    looked = [at for at, _ in clinic.looks if SECOND * 5 <= at <= back]
    assert len(looked) == 3


def test_warning_is_told_at_once() -> None:
    clinic = Clinic(found=lambda _, at: PASSING if at < SECOND * 5 else WARNING)
    clinic.see(instance())
    clinic.run(SECOND * 20)
    assert [status for _, status in clinic.statuses()] == ["passing", "warning"]


def test_looks_are_one_at_a_time_and_rest_when_they_are_slow() -> None:
    clinic = Clinic(took=lambda _, __: SECOND * 1.2)
    clinic.see(instance("a", replace(FAST, timeout=SECOND * 2)))
    clinic.run(SECOND * 60)
    gaps = [after - before for (before, _), (after, _) in pairwise(clinic.looks)]
    assert min(gaps) >= SECOND * 1.3


def test_look_that_slept_with_its_process_counts_for_nothing() -> None:
    slept = SECOND * 30
    clinic = Clinic(
        found=lambda _, at: CRITICAL if SECOND * 10 <= at <= SECOND * 42 else PASSING,
        took=lambda _, at: slept if SECOND * 10 <= at < SECOND * 11 else timedelta(0),
    )
    clinic.see(instance("a", replace(FAST, failures=1)))
    clinic.run(SECOND * 39)
    assert [status for _, status in clinic.statuses()] == ["passing"]


def test_checks_that_are_taken_over_keep_their_status_and_are_spread_over_the_interval() -> None:
    well = Health((CheckResult("http", PASSING, EPOCH),))
    clinic = Clinic()
    for number in range(1000):
        clinic.see(as_told(instance(f"i{number}", http_check(interval="10s")), well))
    clinic.run(SECOND * 10)
    assert clinic.written == []
    for second in range(10):
        in_it = sum(SECOND * second <= at < SECOND * (second + 1) for at, _ in clinic.looks)
        assert 60 <= in_it <= 160


def test_checks_that_began_together_drift_apart() -> None:
    clinic = Clinic()
    clinic.see(*(instance(f"i{number}", http_check(interval="10s")) for number in range(1000)))
    clinic.run(SECOND * 20)
    for second in range(10, 20):
        in_it = sum(SECOND * second <= at < SECOND * (second + 1) for at, _ in clinic.looks)
        assert 30 <= in_it <= 250


def test_instance_that_is_lost_is_not_looked_at_and_not_told_of() -> None:
    clinic = Clinic(took=lambda _, __: SECOND * 0.4)
    clinic.see(instance())
    clinic.run(SECOND * 0.1)
    clinic.lose("a")
    clinic.run(SECOND * 10)
    assert (len(clinic.looks), clinic.written, len(clinic.rounds)) == (1, [], 0)


def test_check_that_changed_begins_anew_and_keeps_its_status() -> None:
    clinic = Clinic()
    clinic.see(instance())
    clinic.run(SECOND * 5)
    told = as_told(instance(), clinic.written[-1][1].health)
    clinic.see(replace(told, checks=(replace(FAST, interval=SECOND * 2),)))
    clinic.run(SECOND * 20)
    assert [status for _, status in clinic.statuses()] == ["passing"]
    assert len([at for at, _ in clinic.looks if at > SECOND * 5]) <= 12


def test_instance_that_moved_is_looked_at_where_it_is() -> None:
    clinic = Clinic(found=lambda one, _: PASSING if one.port == 80 else CRITICAL)
    clinic.see(instance())
    clinic.run(SECOND * 3)
    clinic.see(replace(as_told(instance(), clinic.written[-1][1].health), port=81))
    clinic.run(SECOND * 3)
    assert [status for _, status in clinic.statuses()] == ["passing", "critical"]


def test_health_is_told_again_when_what_was_told_is_not_there() -> None:
    clinic = Clinic()
    clinic.see(instance())
    clinic.run(SECOND)
    clinic.see(as_told(instance(), Health()))
    assert [status for _, status in clinic.statuses()] == ["passing", "passing"]


def test_all_checks_of_an_instance_are_told_together_in_their_order() -> None:
    checks = (tcp_check(interval="1s"), FAST, ttl_check("5s"))
    clinic = Clinic()
    clinic.see(instance("a", *checks))
    clinic.run(SECOND * 5)
    assert [each.id for each in clinic.written[-1][1].health.checks] == ["tcp", "http"]


def test_instance_is_deregistered_when_it_is_critical_for_as_long_as_it_may_be() -> None:
    clinic = Clinic(found=lambda _, at: PASSING if at < SECOND * 10 else CRITICAL)
    clinic.see(instance("a", replace(FAST, deregister_after=SECOND * 30)))
    clinic.run(SECOND * 60)
    assert [why for _, why in clinic.ended] == ["check http was critical for 30s"]
    assert SECOND * 40 <= clinic.ended[0][0] <= SECOND * 43


def test_instance_that_recovers_in_time_is_not_deregistered() -> None:
    clinic = Clinic(found=lambda _, at: CRITICAL if at.total_seconds() % 40 < 20 else PASSING)
    clinic.see(instance("a", replace(FAST, deregister_after=SECOND * 30)))
    clinic.run(SECOND * 600)
    assert clinic.ended == []


def test_check_with_a_ttl_is_not_looked_at_and_deregisters_as_any() -> None:
    check = replace(ttl_check("5s"), deregister_after=SECOND * 30)
    silent = Health((CheckResult("ttl", CRITICAL, None, "nothing was reported for 5s"),))
    clinic = Clinic()
    clinic.see(as_told(instance("a", check), silent))
    clinic.run(SECOND * 31)
    assert (clinic.looks, len(clinic.ended)) == ([], 1)
    fine = Health((CheckResult("ttl", PASSING, EPOCH),))
    clinic.see(as_told(instance("a", check), fine))
    clinic.run(SECOND * 100)
    assert len(clinic.ended) == 1


def test_instance_that_is_kept_in_use_is_not_deregistered() -> None:
    check = replace(FAST, deregister_after=SECOND * 5)
    sick = Health((CheckResult("http", CRITICAL, EPOCH),))
    clinic = Clinic(found=lambda _, __: CRITICAL)
    clinic.see(replace(as_told(instance("a", check), sick), kept=True))
    clinic.run(SECOND * 60)
    assert clinic.ended == []


@given(
    seed=st.integers(0, 10_000),
    kill_ms=st.integers(0, 20_000),
    interval_ms=st.integers(200, 5_000),
    failures=st.integers(1, 4),
    slow=st.booleans(),
)
def test_dead_instance_is_told_of_within_the_promised_time(
    seed: int, kill_ms: int, interval_ms: int, failures: int, *, slow: bool
) -> None:
    interval = timedelta(milliseconds=interval_ms)
    timeout = interval / 2
    killed = timedelta(milliseconds=kill_ms)
    clinic = Clinic(
        seed=seed,
        found=lambda _, at: PASSING if at < killed else CRITICAL,
        took=lambda _, at: timeout if slow and at >= killed else timedelta(0),
    )
    clinic.see(instance("a", replace(FAST, interval=interval, timeout=timeout, failures=failures)))
    clinic.run(killed + interval * (failures + 3))
    died = [at for at, status in clinic.statuses() if status == "critical"]
    assert died, f"seed {seed}"
    # One interval until it looks, half of one for each doubt, and the time that the last takes.
    assert died[0] - killed <= interval * (1 + 0.5 * failures) + timeout


@given(
    st.lists(st.sampled_from(CheckStatus), min_size=1, max_size=60),
    st.integers(0, 1000),
    st.integers(1, 3),
)
def test_what_is_told_always_differs_from_what_was_told_before(
    found: list[CheckStatus], seed: int, successes: int
) -> None:
    answers = iter([*found, *[PASSING] * 1000])
    clinic = Clinic(seed=seed, found=lambda _, __: next(answers))
    clinic.see(instance("a", replace(FAST, successes=successes)))
    clinic.run(SECOND * 80)
    told = [status for _, status in clinic.statuses()]
    assert all(before != after for before, after in pairwise(told))
    assert told[-1] == "passing"
