"""Arguments that cannot be meant are refused with what to give instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from math import inf, nan

import pytest

from moreton.kernel.arguments import check_duration, check_kind, check_number, check_whole

ZERO = timedelta(0)


class Colour(Enum):
    RED = 1
    GREEN = 2


GOOD: list[Callable[[], None]] = [
    lambda: check_kind("name", "x", str),
    lambda: check_duration("limit", timedelta.resolution),
    lambda: check_duration("limit", ZERO, zero=True),
    lambda: check_whole("limit", 0, 0),
    lambda: check_whole("limit", 7, 1, 7),
    lambda: check_number("share", 1, 0, 1),
    lambda: check_number("share", 0.0, 0),
    lambda: check_number("share", 1e-9, 0, above=True),
]
BAD: list[tuple[Callable[[], None], type[Exception], str]] = [
    (lambda: check_kind("name", 3, str), TypeError, "name is 3: give a str"),
    (lambda: check_kind("name", 3, str, "a word"), TypeError, "name is 3: give a word"),
    (
        lambda: check_kind("colour", "red", Colour),
        TypeError,
        "colour is 'red': give Colour.RED, Colour.GREEN",
    ),
    (
        lambda: check_duration("limit", 0.5),
        TypeError,
        "limit is 0.5: give a timedelta, as timedelta(seconds=0.5)",
    ),
    (
        lambda: check_duration("limit", "5s"),
        TypeError,
        "limit is '5s': give a timedelta, as timedelta(seconds=2)",
    ),
    (
        lambda: check_duration("limit", ZERO, "all would fail"),
        ValueError,
        "limit is 0 s: all would fail; give a duration above 0",
    ),
    (
        lambda: check_duration("limit", timedelta(seconds=-1), zero=True),
        ValueError,
        "limit is -1 s; give 0 or more",
    ),
    (lambda: check_whole("queue", 2.0, 0), TypeError, "queue is 2.0: give a whole number"),
    (lambda: check_whole("queue", True, 0), TypeError, "queue is True: give a whole number"),
    (lambda: check_whole("queue", -1, 0), ValueError, "queue is -1; give 0 or more"),
    (lambda: check_whole("queue", 9, 1, 5, "odd"), ValueError, "queue is 9: odd; give 1 to 5"),
    (lambda: check_number("k", "2", 1), TypeError, "k is '2': give a number"),
    (lambda: check_number("k", nan, 1), ValueError, "k is nan; give 1 or more"),
    (lambda: check_number("k", inf, 1), ValueError, "k is inf; give 1 or more"),
    (lambda: check_number("k", 2, 0, 1), ValueError, "k is 2; give 0 or more, up to 1"),
    (lambda: check_number("k", 0, 0, 1, above=True), ValueError, "k is 0; give above 0, up to 1"),
]


@pytest.mark.parametrize("check", GOOD)
def test_a_value_that_can_be_meant_passes(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(("check", "kind", "text"), BAD, ids=[text for _, _, text in BAD])
def test_another_is_refused_in_these_words(
    check: Callable[[], None], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        check()
    assert str(caught.value) == text
