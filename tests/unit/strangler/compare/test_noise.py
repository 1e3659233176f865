"""What differs from itself is noise; what a candidate does more often is not."""

from __future__ import annotations

import random

import pytest

from moreton.strangler.compare.core.differences import Comparison, Difference, Kind, Shape
from moreton.strangler.compare.core.noise.learning import (
    ASKED_MIN,
    FALSE_KEPT_MAX,
    SHAPES_MAX,
    Evidence,
    Noise,
    Verdict,
)

pytestmark = pytest.mark.slow

PAGE = "GET /page"
NOTHING = Comparison()


def at(path: str, kind: Kind = Kind.VALUE) -> Comparison:
    return Comparison((Difference(path, kind, "a", "b"),))


def shape(path: str, kind: Kind = Kind.VALUE) -> Shape:
    return Shape(PAGE, path, kind)


def test_nothing_is_said_before_enough_was_asked() -> None:
    noise = Noise()
    for _ in range(ASKED_MIN - 1):
        noise.learn(PAGE, NOTHING, NOTHING)
    assert noise.verdict(shape("$.price")) is Verdict.UNDECIDED
    noise.learn(PAGE, NOTHING, NOTHING)
    assert noise.verdict(shape("$.price")) is Verdict.KEEP
    assert noise.verdict(Shape("GET /other", "$.price", Kind.VALUE)) is Verdict.UNDECIDED


def test_what_always_differs_is_noise_and_what_only_the_candidate_does_is_not() -> None:
    noise = Noise()
    for number in range(ASKED_MIN):
        noise.learn(PAGE, at(f"$.items[{number}].at"), at(f"$.items[{number + 1}].at"))
    found = noise.sort(PAGE, [*at("$.items[7].at").differences, *at("$.price").differences])
    assert [one.path for one in found[Verdict.NOISE]] == ["$.items[7].at"]
    assert [one.path for one in found[Verdict.KEEP]] == ["$.price"]


def test_a_noisy_field_that_is_missing_is_no_noise() -> None:
    noise = Noise()
    for _ in range(ASKED_MIN):
        noise.learn(PAGE, at("$.at"), at("$.at"))
    assert noise.verdict(shape("$.at", Kind.MISSING)) is Verdict.KEEP


def test_a_field_that_seldom_differs_from_itself_is_kept_once_the_candidate_always_does() -> None:
    noise = Noise()
    noise.learn(PAGE, at("$.stock"), NOTHING)
    assert noise.verdict(shape("$.stock")) is Verdict.NOISE
    for _ in range(30):
        noise.learn(PAGE, NOTHING, at("$.stock"))
    assert noise.verdict(shape("$.stock")) is Verdict.KEEP


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_noise_is_kept_by_chance_as_seldom_as_is_said(rate: float) -> None:
    rng = random.Random(4)
    wrong = 0
    for _ in range(300):
        evidence = Evidence()
        for _ in range(100):
            evidence.add(itself=rng.random() < rate, candidate=rng.random() < rate)
        wrong += evidence.proven
    assert wrong <= 300 * FALSE_KEPT_MAX + 2


def test_strength_is_that_of_the_exact_sum() -> None:
    assert Evidence(candidate=10).strength == pytest.approx((2**11 - 1) / 11)
    assert Evidence(itself=1, candidate=1).strength == pytest.approx((1 + 3) / 3 / 2)
    assert Evidence().strength == pytest.approx(1)


def test_who_knows_better_says_so() -> None:
    noise = Noise()
    for _ in range(ASKED_MIN):
        noise.learn(PAGE, NOTHING, at("$.v"))
    noise.say(shape("$.v"), Verdict.NOISE, "the version of the program")
    assert noise.verdict(shape("$.v")) is Verdict.NOISE
    (known,) = noise.learned()
    assert (known.because, known.asked) == ("the version of the program", ASKED_MIN)


def test_what_is_learned_is_bounded_and_what_was_left_out_is_counted() -> None:
    noise = Noise()
    for number in range(SHAPES_MAX + 5):
        noise.learn(PAGE, at(f"$.m{number}"), NOTHING)
    assert sum(1 for _ in noise.learned()) == SHAPES_MAX
    assert noise.overlooked == 5


def rarely(seed: int, share: float) -> Noise:
    """What differs from itself in a *share* of 200 requests, at least once; a healthy candidate."""
    rng = random.Random(seed)
    noise = Noise()
    for number in range(200):
        itself = number == 0 or rng.random() < share
        found = at("$.v") if rng.random() < share else NOTHING
        noise.learn(PAGE, at("$.v") if itself else NOTHING, found)
        noise.watch(PAGE, found)
    return noise


def test_a_candidate_that_always_differs_where_the_primary_seldom_does_is_soon_known() -> None:
    noise = rarely(1, 0.005)
    assert noise.verdict(shape("$.v")) is Verdict.NOISE
    for _ in range(8):
        noise.watch(PAGE, at("$.v"))
    assert noise.verdict(shape("$.v")) is Verdict.KEEP
    for _ in range(12):
        noise.watch(PAGE, NOTHING)
    noise.watch(PAGE, at("$.v"))
    assert noise.verdict(shape("$.v")) is Verdict.NOISE, "it was mended"


def test_a_primary_that_differs_from_itself_meanwhile_ends_a_streak() -> None:
    noise = rarely(1, 0.005)
    for _ in range(8):
        noise.watch(PAGE, at("$.v"))
    noise.learn(PAGE, at("$.v"), NOTHING)
    assert noise.verdict(shape("$.v")) is Verdict.NOISE


@pytest.mark.parametrize("share", [0.005, 0.02, 0.04])
def test_what_seldom_differs_on_both_sides_stays_noise(share: float) -> None:
    rng = random.Random(9)
    for seed in range(5):
        noise = rarely(seed, share)
        for _ in range(1000):
            found = at("$.v") if rng.random() < share else NOTHING
            noise.watch(PAGE, found)
            assert noise.verdict(shape("$.v")) is Verdict.NOISE
