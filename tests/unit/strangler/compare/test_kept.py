"""Differences that are kept: grouped, bounded, and there after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moreton.strangler.compare.core.differences import Difference, Kind, Shape
from moreton.strangler.compare.errors import DifferencesUnreadable, NoSuchPair
from moreton.strangler.compare.sqlite import PAIRS_FIRST, PAIRS_LAST, SIDE_CHARS_MAX, Differences

START = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Differences]:
    with Differences(tmp_path / "made" / "differences.db") as opened:
        yield opened


def price(index: int = 0) -> Difference:
    return Difference(f"$.items[{index}].price", Kind.VALUE, "9.99", "999")


def add(file: Differences, *found: Difference, minute: int = 0, body: str = "{}") -> None:
    now = START + timedelta(minutes=minute)
    file.add("GET /items", found, now, request="GET /items", primary=body, candidate="{}")


def test_differences_of_one_shape_are_one_group(file: Differences) -> None:
    add(file, price(3), price(4), minute=1)
    add(file, price(9), Difference("status", Kind.VALUE, "200", "500"), minute=7)
    first, second = file.groups()
    assert first.shape == Shape("GET /items", "$.items[*].price", Kind.VALUE)
    assert (first.count, len(first.pairs)) == (2, 2)
    assert (first.first_seen.minute, first.last_seen.minute) == (1, 7)
    assert (second.shape.field, second.count) == ("status", 1)


def test_the_first_and_the_last_pairs_are_kept(file: Differences) -> None:
    for minute in range(30):
        add(file, price(), minute=minute)
    (group,) = file.groups()
    minutes = [file.pair(number).seen.minute for number in group.pairs]
    assert minutes == [0, 1, 27, 28, 29]
    assert (group.count, len(minutes)) == (30, PAIRS_FIRST + PAIRS_LAST)


def test_a_pair_is_shown_as_it_was_and_no_longer_than_it_may_be(file: Differences) -> None:
    add(file, price(2), body="x" * (SIDE_CHARS_MAX + 1))
    (group,) = file.groups()
    pair = file.pair(group.pairs[0])
    assert (pair.endpoint, pair.differences) == ("GET /items", [price(2)])
    assert len(pair.primary) == SIDE_CHARS_MAX


def test_all_is_there_after_a_restart_and_another_process_may_look(tmp_path: Path) -> None:
    path = tmp_path / "differences.db"
    with Differences(path) as file:
        add(file, price())
        file.accept("$.items[*].at", "ignore", "the time of the answer", START)
        with Differences(path) as other:
            assert [group.count for group in other.groups()] == [1]
            add(file, price())
            assert [group.count for group in other.groups()] == [2]
    with Differences(path) as file:
        assert [(rule.path, rule.because) for rule in file.rules()] == [
            ("$.items[*].at", "the time of the answer")
        ]


def test_a_clock_that_goes_back_does_not_make_a_group_older(file: Differences) -> None:
    add(file, price(), minute=9)
    add(file, price(), minute=2)
    (group,) = file.groups()
    assert group.last_seen.minute == 9


def test_a_path_is_not_accepted_without_a_reason_or_if_it_is_none(file: Differences) -> None:
    with pytest.raises(ValueError, match="because of what"):
        file.accept("$.a", "ignore", " ", START)
    with pytest.raises(ValueError, match="not a path"):
        file.accept("a", "ignore", "it is", START)
    assert file.rules() == []


def test_what_is_not_kept_is_said_so(file: Differences) -> None:
    with pytest.raises(NoSuchPair, match="there is no pair 7"):
        file.pair(7)


def test_a_file_that_is_none_of_ours_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "differences.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(DifferencesUnreadable, match="move it away"):
        Differences(path)
    assert path.read_bytes().startswith(b"no database")
    with pytest.raises(DifferencesUnreadable, match="cannot be read"):
        Differences(tmp_path)


def test_what_is_accepted_of_a_route_holds_on_no_other(file: Differences) -> None:
    file.accept("$.a", "ignore", "always", START)
    file.accept("$.b", "ignore", "is now", START, route="shop")
    assert [rule.path for rule in file.rules("shop")] == ["$.a", "$.b"]
    assert [rule.path for rule in file.rules("other")] == ["$.a"]
    assert len(file.rules()) == 2
