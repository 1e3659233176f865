from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from moreton.kernel.ids import new_id
from moreton.kernel.rng import seeded_rng

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def number_of(text: str) -> int:
    number = 0
    for letter in text:
        number = number * 32 + ALPHABET.index(letter)
    return number


def test_id_says_the_time_and_the_random_bits_to_the_last_one() -> None:
    for seed in range(200):
        wall = datetime.fromtimestamp(random.Random(seed).uniform(0, 2**33), UTC)
        said = new_id(wall, seeded_rng(seed))
        assert len(said) == 26
        assert number_of(said[:10]) == int(wall.timestamp() * 1000)
        assert number_of(said[10:]) == seeded_rng(seed).getrandbits(80)


def test_ids_of_different_milliseconds_sort_by_time() -> None:
    rng, begin = seeded_rng(1), datetime(2026, 11, 27, tzinfo=UTC)
    made = [new_id(begin + timedelta(milliseconds=7**n), rng) for n in range(14)]
    assert made == sorted(made)
