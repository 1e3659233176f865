from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.ratelimit.quota.core.division import FLOOR, FLOORS_MAX, HEADROOM, Quota, divide

HUNDRED = Quota(100.0, 100)
demands = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 10_000), min_size=1)


def test_a_holder_that_is_alone_has_all_of_it() -> None:
    assert divide(HUNDRED, {"a": 0.0}) == {"a": 1.0}


def test_two_that_ask_for_more_than_there_is_get_the_same() -> None:
    assert divide(HUNDRED, {"a": 100.0, "b": 5000.0}) == {"a": 0.5, "b": 0.5}


def test_who_asks_for_little_gets_it_and_the_other_has_the_rest() -> None:
    shares = divide(HUNDRED, {"a": 10.0, "b": 5000.0})
    assert shares["a"] == pytest.approx(0.1 * HEADROOM)
    assert shares["b"] == pytest.approx(1 - 0.1 * HEADROOM)


def test_what_nobody_asks_for_is_divided_equally() -> None:
    shares = divide(HUNDRED, {"a": 30.0, "b": 10.0})
    assert shares["a"] - shares["b"] == pytest.approx(0.2 * HEADROOM)


def test_who_is_asked_for_nothing_has_the_floor() -> None:
    assert divide(HUNDRED, {"a": 0.0, "b": 5000.0}) == {"a": FLOOR, "b": 1 - FLOOR}


def test_a_small_limit_has_a_floor_of_one_request() -> None:
    assert divide(Quota(10.0, 10), {"a": 0.0, "b": 5000.0})["a"] == pytest.approx(0.1)


def test_floors_take_no_more_than_half() -> None:
    shares = divide(HUNDRED, {"busy": 5000.0} | {str(each): 0.0 for each in range(99)})
    assert shares["busy"] >= 1 - FLOORS_MAX


def test_shares_of_a_keyed_quota_are_as_the_demands() -> None:
    quota = Quota(1.0, 100, keyed=True)
    shares = divide(quota, {"a": 900.0, "b": 100.0})
    assert shares["a"] == pytest.approx(0.9, abs=0.01)


def test_a_keyed_quota_of_which_nothing_is_asked_is_divided_equally() -> None:
    assert divide(Quota(1.0, 100, keyed=True), {"a": 0.0, "b": 0.0}) == {"a": 0.5, "b": 0.5}


@settings(max_examples=50)
@given(demands, st.floats(0.01, 10_000), st.integers(1, 1000))
def test_shares_are_max_min_fair(asked: dict[str, float], rate: float, burst: int) -> None:
    quota = Quota(rate, burst)
    shares = divide(quota, asked)
    assert sum(shares.values()) == pytest.approx(1.0)
    for name, share in shares.items():
        satisfied = share * rate >= asked[name] - 1e-6
        # Who does not get what it asks for has no less than anyone else.
        assert satisfied or share >= max(shares.values()) - 1e-9
        assert share >= min(FLOOR, FLOORS_MAX / len(shares)) - 1e-9


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_lets_nothing_or_anything_pass_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate is"):
        Quota(rate, 1)
