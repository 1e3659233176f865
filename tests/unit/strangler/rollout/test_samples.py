"""Samples of a migration: bounded however long it takes, and nothing of what was seen is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.strangler.rollout.core.quantiles import Spread
from moreton.strangler.rollout.core.samples import (
    SAMPLES_MAX,
    Sample,
    Series,
    sample_document,
    sample_from,
    seconds_of_next,
)
from moreton.strangler.rollout.core.sides import Bin, Look, Side

pytestmark = pytest.mark.slow


def sample(number: int, *, stage: int = 0, seconds: float = 1.0) -> Sample:
    look = Look(Side(9, 1, {Bin(20, 1): 9}), Side(1, 0, {Bin(400, 10): 1}), 3, 1)
    return Sample(number * seconds, 0.0, 1, stage, 0.1).plus(look, seconds)


def test_series_is_bounded_and_counts_everything() -> None:
    series, stored = Series(), dict[int, Sample]()
    for number in range(5 * SAMPLES_MAX):
        kept = series.add(sample(number, stage=number // 400))
        assert len(kept.put) + len(kept.drop) <= 3, "each sample costs a few writes"
        stored.update(kept.put)
        for each in kept.drop:
            del stored[each]
    found = series.samples()
    assert len(found) == SAMPLES_MAX
    assert [stored[each] for each in sorted(stored)] == found, "the store has something else"
    assert sum(each.baseline.requests for each in found) == 5 * SAMPLES_MAX * 9
    assert sum(each.different for each in found) == 5 * SAMPLES_MAX
    assert {each.stage for each in found} == {0, 1, 2}
    longest, shortest = max(e.seconds for e in found), min(e.seconds for e in found)
    assert longest <= 4 * max(shortest, 2.0), "some are much coarser than others"


def test_series_of_stages_alone_forgets_the_oldest() -> None:
    series = Series()
    for number in range(SAMPLES_MAX + 5):
        series.add(sample(number, stage=number))
    found = series.samples()
    assert len(found) == SAMPLES_MAX
    assert found[0].stage == 5


def test_samples_apart_are_not_put_together() -> None:
    assert sample(2).continues(sample(1))
    assert not sample(100).continues(sample(1))
    assert not sample(2, stage=1).continues(sample(1))


def test_wall_clock_that_jumps_back_loses_no_time() -> None:
    joined = sample(100).joined(sample(3))
    assert joined.seconds == 2.0
    assert joined.since == 100.0


@given(st.floats(1, 60_000), st.integers(1, 1000))
def test_times_are_kept_to_a_tenth(time: float, count: int) -> None:
    kept = Sample(0, 0, 1, 0, 0.1).plus(Look(Side(count, 0, {Bin(time, 0.01): count})), 1.0)
    spread = Spread(kept.baseline.times)
    assert spread.total == count
    assert 0.9 * time <= spread.quantile(0.5) <= 1.1 * time + 0.01


@given(st.floats(0, 1e5), st.floats(0, 1e4))
def test_sample_comes_back_from_the_store_as_it_was(lower: float, width: float) -> None:
    times = {Bin(lower, width): 3, Bin(0, 1): 1}
    made = Sample(1.5, 0.0, 2, 1, 0.25).plus(Look(Side(4, 1, times), Side(), 2, 1), 1.25)
    assert sample_from(json.loads(json.dumps(sample_document(made)))) == made


def test_samples_begin_short_and_get_longer() -> None:
    assert [seconds_of_next(each) for each in (0, 100, 500, 1e6)] == [1.0, 1.0, 5.0, 10.0]
