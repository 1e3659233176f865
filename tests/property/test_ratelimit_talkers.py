"""Heavy hitters keep what their sources promise, against exact counts, one by one and merged."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.ratelimit.seeing.core.heavy import HeavyHitters

# Few keys that come often and many that come once.
KEYS = st.one_of(st.sampled_from("abc"), st.integers(0, 40).map(str))
STREAMS = st.lists(
    st.tuples(KEYS, st.integers(0, 9), st.booleans()).map(
        lambda one: (one[0], one[1], one[1] * one[2])
    ),
    max_size=80,
)
Stream = list[tuple[str, int, int]]


def counted(most: int, stream: Stream) -> HeavyHitters:
    found = HeavyHitters(most)
    for key, count, refused in stream:
        found.add(key, count, refused=refused)
    return found


def check(found: HeavyHitters, stream: Stream) -> None:
    exact: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for key, count, no in stream:
        exact[key] += count
        refused[key] += no
    total = exact.total()
    told = {one.key: one for one in found.top()}
    assert found.total == total
    assert len(found) == len(told) <= found.most
    assert found.floor <= total / found.most
    for key, count in exact.items():
        if key not in told:
            assert count <= found.floor
            continue
        one = told[key]
        assert one.count - one.error <= count <= one.count
        assert one.error <= total / found.most
        assert one.refused <= refused[key] <= one.refused + one.error
    # Whoever counts more than that share is told.
    assert all(key in told for key, count in exact.items() if count > total / found.most)


@settings(max_examples=40)
@given(st.integers(1, 12), STREAMS)
def test_no_count_is_too_low_nor_too_high_by_more_than_is_said(most: int, stream: Stream) -> None:
    check(counted(most, stream), stream)


@settings(max_examples=40)
@given(st.integers(1, 12), st.lists(STREAMS, min_size=1, max_size=5), STREAMS)
def test_what_holds_of_each_holds_of_all_together(
    most: int, streams: list[Stream], after: Stream
) -> None:
    merged = HeavyHitters(most)
    for stream in streams:
        one = counted(most, stream)
        merged.merge(one.top(), floor=one.floor, total=one.total)
    for key, count, refused in after:
        merged.add(key, count, refused=refused)
    check(merged, [*(each for stream in streams for each in stream), *after])


@settings(max_examples=40)
@given(STREAMS)
def test_with_room_for_all_the_counts_are_exact(stream: Stream) -> None:
    found = counted(100, stream)
    assert (found.floor, [one.error for one in found.top()]) == (0, [0] * len(found))
