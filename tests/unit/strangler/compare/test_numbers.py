"""Noisy numbers have a size: a candidate's that are of another one are told of, and no others."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from moreton.strangler.compare.core.differences import Comparison, Difference, Kind, Shape
from moreton.strangler.compare.core.noise.learning import Noise, Verdict
from moreton.strangler.compare.core.noise.looks import looks_document, looks_from
from moreton.strangler.compare.core.noise.numbers import (
    SEEN_MIN,
    Numbers,
    number_of,
    numbers_document,
    numbers_from,
)
from moreton.strangler.compare.core.noise.wagers import CHANCE_LOOKS_MIN, Wager
from moreton.strangler.compare.serving.keeping import Keeper

PAGE = "GET /page"
SHAPE = Shape(PAGE, "$.v", Kind.VALUE)
LOOKS = 40  # of a candidate that is wrong
Draw = Callable[[random.Random], float]
Fault = Callable[[float], float]

NOISES: dict[str, Draw] = {
    "a rate": lambda rng: rng.uniform(1.16, 1.18),
    "a price": lambda rng: rng.randint(499, 2099) / 100,
    "a count": lambda rng: rng.randint(1, 9),
    "a duration": lambda rng: rng.expovariate(1 / 20),
    "a size": lambda rng: rng.lognormvariate(3, 1),
    "a position": lambda rng: rng.uniform(-50, 50),
    "a large number": lambda rng: rng.getrandbits(48),
}
FAULTS: dict[str, Fault] = {
    "ten times as much": lambda number: number * 10,
    "a thousandth": lambda number: number / 1000,
    "nothing": lambda _: 0,
    "less than nothing": lambda number: -abs(number),
    "the same each time": lambda _: 5.25,
}


def at(one: float | str, other: float | str) -> Comparison:
    if one == other:
        return Comparison()
    return Comparison((Difference("$.v", Kind.VALUE, str(one), str(other)),))


class Site:
    """Asks a primary, of every third request twice, and a candidate."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self.noise = Noise()
        self._draw = draw
        self._rng = random.Random(seed)

    def told(self, requests: int, fault: Fault = lambda number: number) -> int:
        """How often something is told of, as the judge does: if it is there again."""
        return sum(self._one(number, fault) for number in range(requests))

    def _one(self, number: int, fault: Fault) -> bool:
        primary, candidate = self._draw(self._rng), fault(self._draw(self._rng))
        found = at(primary, candidate)
        if number % 3 == 0:
            self.noise.learn(PAGE, at(primary, self._draw(self._rng)), found)
        self.noise.watch(PAGE, found)
        return self._kept(found) and self._kept(
            at(self._draw(self._rng), fault(self._draw(self._rng)))
        )

    def _kept(self, found: Comparison) -> bool:
        return bool(self.noise.sort(PAGE, found.differences)[Verdict.KEEP])


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_healthy_numbers_are_not_told_of(noise: str) -> None:
    assert sum(Site(NOISES[noise], seed).told(300) for seed in range(8)) == 0


@pytest.mark.soak
@pytest.mark.parametrize("noise", NOISES)
def test_healthy_numbers_are_not_told_of_in_many_runs(noise: str) -> None:
    assert sum(Site(NOISES[noise], seed).told(2000) for seed in range(40)) <= 1


# Half of the positions are less than nothing anyway.
WRONG = [
    (noise, fault)
    for noise in NOISES
    for fault in FAULTS
    if (noise, fault) != ("a position", "less than nothing")
]


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "fault"), WRONG)
def test_numbers_of_another_size_are_told_of_however_long_all_was_well(
    noise: str, fault: str
) -> None:
    site = Site(NOISES[noise], seed=4)
    site.told(600)
    assert site.told(LOOKS, FAULTS[fault]) > 0


def test_numbers_that_are_wrong_from_the_first_request_on_are_told_of() -> None:
    assert Site(NOISES["a price"], seed=1).told(100, FAULTS["ten times as much"]) > 0


def test_counters_of_two_databases_and_what_stands_in_a_copy_are_not_told_of() -> None:
    counters = {"primary": count(4000), "candidate": count(12)}
    noise = Noise()
    for number in range(300):
        primary = next(counters["primary"])
        candidate = 12 if number < 150 else next(counters["candidate"])
        found = at(primary, candidate)
        noise.learn(PAGE, at(primary, next(counters["primary"])), found)
        noise.watch(PAGE, found)
        assert not noise.sort(PAGE, found.differences)[Verdict.KEEP], number


def test_a_mended_candidate_is_soon_taken_for_that() -> None:
    site = Site(NOISES["a count"], seed=2)
    site.told(600)
    assert site.told(LOOKS, FAULTS["the same each time"]) > 0
    site.told(10)
    assert site.told(300) == 0


def test_what_is_odd_is_said_where_noise_is_listed() -> None:
    site = Site(NOISES["a duration"], seed=3)
    site.told(300, FAULTS["ten times as much"])
    (known,) = site.noise.learned()
    assert (known.shape, known.verdict) == (SHAPE, Verdict.NOISE)
    assert known.because.endswith("; what the candidate says is too often larger")


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_wager_is_won_by_chance_as_seldom_as_is_said(share: float) -> None:
    rng = random.Random(5)
    wager = Wager()
    mean = 0.0
    for _ in range(3000):
        wager.add(candidate=rng.random() < share)
        mean += sum(wager.wealth) / len(wager.wealth) / 3000
    assert not wager.is_won
    # By chance the wealth is worth the number of bets at most; here it stays far from the bound.
    assert mean < CHANCE_LOOKS_MIN / 10


@pytest.mark.parametrize(("share", "bets"), [(1.0, 26), (0.9, 100), (0.75, 250)])
def test_a_wager_is_won_soon_where_there_is_something(share: float, bets: int) -> None:
    rng = random.Random(6)
    wager = Wager()
    for _ in range(2000):
        wager.add(candidate=rng.random() < 0.5)
    for _ in range(bets):
        wager.add(candidate=rng.random() < share)
    assert wager.is_won


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("£12.50", 12.5),
        ("12,50 €", 12.5),
        ("app;dur=12.3", 12.3),
        ("1,234", 1234),
        ("1.234", 1.234),
        ("1,234.5", 1234.5),
        ("1.234.567,5", 1234567.5),
        ("1e-06", 1e-06),
        ("-£5", -5),
        ("page-5", 5),
        ("5.", 5),
        ("9" * 60, 1e60),
        ("3 of 5", None),
        ("2026-11-27", None),
        ("f288d745ee5e52c4", None),
        ("1e999", None),
        ("5e-324", 0),
        ("9" * 400, None),
        ("nan", None),
        ("٣", None),
        ("..", None),
        ("", None),
    ],
)
def test_a_number_is_read_from_what_is_around_it(text: str, number: float | None) -> None:
    assert number_of(text) == (None if number is None else pytest.approx(number))


def test_a_range_is_written_down_in_two_digits_outward() -> None:
    numbers = Numbers()
    for number in range(SEEN_MIN):
        numbers.add(f"{1.163 + number / 1e5}", f"{1.163 - number / 1e5}")
    again = numbers_from(numbers_document(numbers))
    assert [again.low, again.high] == pytest.approx([1.1, 1.2])
    assert (again.seen, again.ups, again.downs) == (numbers.seen, numbers.ups, numbers.downs)
    assert numbers_from(numbers_document(Numbers())).low == math.inf
    numbers.add("9e299", "-9e299")
    again = numbers_from(numbers_document(numbers))
    assert [again.low, again.high] == pytest.approx([-9e299, 9e299], rel=0.02)


def test_what_was_won_is_there_after_a_restart() -> None:
    site = Site(NOISES["a count"], seed=2)
    site.told(200)
    site.told(LOOKS, FAULTS["the same each time"])
    looks = site.noise.kept()[1][SHAPE].looks
    assert looks is not None
    again = looks_from(looks_document(looks))
    assert (again.stuck, again.numbers.wagers) == (looks.stuck, looks.numbers.wagers)
    assert again.odd() == looks.odd() == ["the same"]


def test_values_are_unknown_again_once_the_key_of_their_marks_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    keeper = Keeper(path)
    for _ in range(60):
        keeper.learn(PAGE, at("HIT", "MISS"), Comparison())
    assert keeper.sort(PAGE, at("HIT", "STALE").differences)[Verdict.KEEP]
    keeper.close()
    path.with_suffix(".key").unlink()
    keeper = Keeper(path)
    assert not keeper.sort(PAGE, at("HIT", "MISS").differences)[Verdict.KEEP]
    keeper.close()
