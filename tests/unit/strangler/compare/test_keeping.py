"""Of what differs all the time all is counted, and a pair kept now and then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moreton.strangler.compare.core.differences import Difference, Kind
from moreton.strangler.compare.serving.keeping import Keeper, Told
from moreton.strangler.compare.sqlite import PAIRS_FIRST, PAIRS_LAST, Differences, Group

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDPOINT = "GET /items"
PRICE = Difference("$.price", Kind.VALUE, "1", "2")
STATUS = Difference("status", Kind.VALUE, "200", "500")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "differences.db"


@pytest.fixture
def keeper(path: Path) -> Iterator[Keeper]:
    with closing(Keeper(path)) as made:
        yield made


def see(keeper: Keeper, *found: Difference, at: float = 0, route: str = "shop") -> bool:
    """Whether a pair was kept of what was seen *at* so many seconds past noon."""
    now = NOON + timedelta(seconds=at)
    told = Told(str(at), "{}", "{}", found)
    return keeper.add(ENDPOINT, found, now, route=route, tell=lambda: told)


def groups(path: Path) -> list[Group]:
    with Differences(path) as file:
        return file.groups()


def test_everything_is_counted_and_one_pair_a_second_kept(keeper: Keeper, path: Path) -> None:
    kept = [see(keeper, PRICE, at=number / 100) for number in range(300)]
    first = PAIRS_FIRST + PAIRS_LAST
    assert kept[:first] == [True] * first
    assert sum(kept[first:]) == 2
    (group,) = groups(path)
    assert group.count == 300
    assert group.last_seen == NOON + timedelta(seconds=2.99)
    with Differences(path) as file:
        assert float(file.pair(group.pairs[-1]).request) >= 2


def test_what_was_not_seen_before_is_kept_whatever_comes_with_it(keeper: Keeper) -> None:
    for _ in range(20):
        see(keeper, PRICE)
    assert not see(keeper, PRICE)
    assert see(keeper, PRICE, STATUS)
    assert see(keeper, PRICE, route="another")


def test_a_clock_that_is_set_back_stops_nothing(keeper: Keeper) -> None:
    for _ in range(20):
        see(keeper, PRICE)
    assert see(keeper, PRICE, at=-3600)
    assert not see(keeper, PRICE, at=-3600)


def test_more_shapes_than_are_kept_are_counted_as_overlooked(
    keeper: Keeper, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moreton.strangler.compare.sqlite.SHAPES_MAX", 1)
    see(keeper, PRICE)
    with Differences(path) as file:
        file.count(ENDPOINT, [STATUS, PRICE], NOON)
        assert (file.overlooked, len(file.groups())) == (1, 1)
        assert file.groups()[0].count == 2
