"""The series of waits that people read: presets, examples, words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.resilience import Backoff, Jitter
from moreton.resilience.core.backoff import Growth
from moreton.resilience.core.retrying import schedule

SECOND = timedelta(seconds=1)


def seconds(backoff: Backoff, retries: int) -> list[float]:
    rng = seeded_rng(1)
    return [backoff.seconds(retry, rng) for retry in range(1, retries + 1)]


def test_patient_begins_its_attempts_at_exactly_0_2_8_26_and_80_seconds() -> None:
    offsets = [0.0]
    for wait in seconds(Backoff.patient(), 4):
        offsets.append(offsets[-1] + wait)
    assert offsets == [0, 2, 8, 26, 80]
    for column in range(3):
        assert [row[column] for row in schedule(Backoff.patient(), 5)] == [0, 2, 8, 26, 80]


def test_patient_goes_on_to_its_cap() -> None:
    assert seconds(Backoff.patient(), 7) == [2, 6, 18, 54, 162, 300, 300]


def test_the_default_is_exponential_with_full_jitter() -> None:
    default = Backoff()
    assert default.jitter is Jitter.FULL
    assert default == Backoff.exponential()
    latest = [default.bounds(retry)[2] for retry in range(1, 10)]
    assert latest == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])


def test_constant_linear_and_exponential_grow_as_they_say() -> None:
    plain = Backoff.exponential(SECOND, multiplier=4, cap=60 * SECOND, jitter=Jitter.NONE)
    assert seconds(plain, 5) == [1, 4, 16, 60, 60]
    assert seconds(Backoff.linear(SECOND, 2 * SECOND, cap=6 * SECOND), 5) == [1, 3, 5, 6, 6]
    assert seconds(Backoff.constant(SECOND), 3) == [1, 1, 1]


def test_a_cap_that_the_series_meets_exactly_is_reached_and_not_early() -> None:
    exact = Backoff.exponential(SECOND, multiplier=3, cap=27 * SECOND, jitter=Jitter.NONE)
    assert seconds(exact, 5) == [1, 3, 9, 27, 27]
    near = Backoff.exponential(SECOND, multiplier=3, cap=28 * SECOND, jitter=Jitter.NONE)
    assert seconds(near, 5) == [1, 3, 9, 27, 28]


def test_next_delay_is_seconds_as_a_timedelta() -> None:
    backoff = Backoff.exponential(jitter=Jitter.DECORRELATED)
    delay = backoff.next_delay(2, seeded_rng(3), previous=SECOND)
    assert delay.total_seconds() == pytest.approx(backoff.seconds(2, seeded_rng(3), 1.0), abs=1e-6)


@pytest.mark.parametrize("retry", [0, -1])
def test_retries_are_counted_from_one(retry: int) -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        Backoff().seconds(retry, seeded_rng(1))


def test_a_backoff_says_what_it_is() -> None:
    assert str(Backoff()) == "exponential from 100ms times 2 up to 10s with full jitter"
    assert str(Backoff.constant(SECOND)) == "constant from 1s with none jitter"
    linear = Backoff.linear(SECOND, SECOND, jitter=Jitter.EQUAL)
    assert str(linear) == "linear from 1s plus 1s up to 10s with equal jitter"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Backoff(initial=timedelta(0)), "initial is 0 s"),
        (lambda: Backoff(initial=-SECOND), "initial is -1 s"),
        (lambda: Backoff.constant(timedelta(0)), "initial is 0 s"),
        (lambda: Backoff(cap=timedelta(milliseconds=1)), "below the initial"),
        (lambda: Backoff(cap=timedelta(days=2)), "at most a day"),
        (lambda: Backoff(multiplier=0.5), "waits would shrink"),
        (lambda: Backoff(multiplier=float("nan")), "multiplier is nan"),
        (lambda: Backoff(multiplier=float("inf")), "multiplier is inf"),
        (lambda: Backoff(multiplier=1), "never grow"),
        (lambda: Backoff.linear(SECOND, timedelta(0)), "step is 0"),
        (lambda: Backoff.linear(SECOND, -SECOND), "waits would shrink"),
        (
            lambda: Backoff.linear(SECOND, SECOND, jitter=Jitter.DECORRELATED),
            "a growth of its own",
        ),
        (
            lambda: Backoff.constant(SECOND, jitter=Jitter.DECORRELATED),
            "a growth of its own",
        ),
        (lambda: Backoff(growth=Growth.CONSTANT), "no cap above them"),
    ],
)
def test_a_series_that_cannot_be_meant_is_refused(make: object, why: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=why):
        make()
