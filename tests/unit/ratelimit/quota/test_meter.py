from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from moreton.kernel.time import Instant
from moreton.ratelimit.quota.core.meter import Meter

EVERY = timedelta(milliseconds=250)


def feed(meter: Meter, counts: list[int], start: int = 0) -> None:
    now = Instant(start)
    for count in counts:
        meter.feed({"q": count}, now)
        now += EVERY


def test_a_counter_that_was_seen_once_has_no_rate() -> None:
    meter = Meter()
    feed(meter, [70])
    assert meter.rates() == {}


def test_steady_traffic_has_its_rate() -> None:
    meter = Meter()
    feed(meter, [25 * each for each in range(40)])
    assert meter.rates() == {"q": pytest.approx(100.0)}


def test_a_jump_is_followed_within_half_a_second() -> None:
    meter = Meter()
    steady = [25 * each for each in range(20)]
    feed(meter, [*steady, steady[-1] + 500, steady[-1] + 1000])
    assert meter.rates() == {"q": pytest.approx(2000.0)}


def test_an_end_is_followed_within_half_a_second() -> None:
    meter = Meter()
    steady = [25 * each for each in range(20)]
    feed(meter, [*steady, steady[-1], steady[-1]])
    assert meter.rates() == {"q": 0.0}


@pytest.mark.parametrize("held_up", [40, 80, 100])
def test_what_was_held_up_and_came_at_once_is_no_change(held_up: int) -> None:
    meter = Meter()
    counts = [100 * each for each in range(20)]
    counts[12] -= held_up
    found = []
    for number, count in enumerate(counts):
        meter.feed({"q": count}, Instant(0) + EVERY * number)
        found.append(meter.rates().get("q", 400.0))
    # Not that of a half second of which a part was missing, or was made up for.
    assert min(found) > 400 * 0.9
    assert max(found) < 400 * 1.02


def test_what_is_held_up_at_every_look_has_its_rate() -> None:
    meter = Meter()
    feed(meter, [100 * each - 60 * (each % 2) for each in range(40)])
    assert meter.rates() == {"q": pytest.approx(400.0, rel=0.05)}


def test_what_comes_at_random_is_averaged_over_seconds() -> None:
    rng, count, counts = Random(7), 0, []
    for _ in range(80):
        count += sum(rng.random() < 0.05 for _ in range(500))
        counts.append(count)
    meter = Meter()
    feed(meter, counts)
    # Of half a second alone one in three would be off by more than 14 %.
    assert meter.rates()["q"] == pytest.approx(100.0, rel=0.1)


def test_a_counter_that_goes_back_begins_anew() -> None:
    meter = Meter()
    feed(meter, [1000, 2000, 0])
    assert meter.rates() == {}


def test_a_counter_that_went_is_forgotten() -> None:
    meter = Meter()
    feed(meter, [0, 10])
    meter.feed({}, Instant(10**9))
    assert meter.rates() == {}


def test_two_looks_at_one_moment_are_no_rate() -> None:
    meter = Meter()
    meter.feed({"q": 1}, Instant(5))
    meter.feed({"q": 2}, Instant(5))
    assert meter.rates() == {}
