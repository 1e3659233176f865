"""The log in memory, alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.consensus.core.log import ENTRY_OVERHEAD_BYTES, Log, entry_bytes
from moreton.consensus.core.messages import Entry, SnapshotMeta


def entries(*terms: int, start: int = 1) -> list[Entry]:
    return [Entry(term, index) for index, term in enumerate(terms, start)]


def log(*terms: int, after: SnapshotMeta | None = None) -> Log:
    after = after or SnapshotMeta()
    return Log(after, entries(*terms, start=after.index + 1))


def terms(one: Log) -> list[int]:
    return [entry.term for entry in one.entries(one.first_index)]


def test_empty_log_ends_before_the_first_entry() -> None:
    one = log()
    assert (one.first_index, one.last_index, one.last_term, one.term(0)) == (1, 0, 0, 0)
    assert one.take_unwritten() == ()
    assert one.take_committed(100) == ()


def test_log_after_a_snapshot_knows_the_term_before_its_first_entry() -> None:
    one = log(5, 6, after=SnapshotMeta(10, 4))
    assert (one.first_index, one.last_index, one.last_term) == (11, 12, 6)
    assert [one.term(index) for index in (9, 10, 11, 12, 13)] == [None, 4, 5, 6, None]
    assert (one.committed, one.handed_out, one.applied) == (10, 10, 10)


def test_log_keeps_entries_before_its_snapshot_that_lead_up_to_it() -> None:
    one = Log(SnapshotMeta(3, 2), entries(1, 1, 2, 2, 3))
    assert (one.base_index, one.base_term, terms(one)) == (1, 1, [1, 2, 2, 3])
    assert one.committed == 3


@pytest.mark.parametrize("old", [(1, 1), (1, 1, 1), (1, 1, 1, 1)])
def test_log_drops_entries_before_a_snapshot_that_ended_elsewhere(old: tuple[int, ...]) -> None:
    one = Log(SnapshotMeta(3, 2), entries(*old))
    assert (one.base_index, one.last_index, one.last_term, terms(one)) == (3, 3, 2, [])


@pytest.mark.parametrize("gap", [[Entry(1, 2)], [Entry(1, 1), Entry(1, 3)]])
def test_log_with_a_gap_cannot_be_built(gap: list[Entry]) -> None:
    with pytest.raises(AssertionError, match=r"where . fits"):
        Log(SnapshotMeta(), gap)


def test_append_takes_only_what_follows() -> None:
    one = log(1, 1)
    with pytest.raises(AssertionError, match="entry 2 where 3 fits"):
        one.append([Entry(1, 2)])


@pytest.mark.parametrize(
    ("new", "start", "left", "unwritten"),
    [
        ((1, 2), 1, [1, 2, 2], 0),  # known already
        ((2,), 3, [1, 2, 2], 0),
        ((), 2, [1, 2, 2], 0),
        ((2, 3), 3, [1, 2, 2, 3], 1),  # partly new
        ((3,), 2, [1, 3], 1),  # conflicts
        ((1, 3, 3, 3), 1, [1, 3, 3, 3], 3),
        ((4,), 4, [1, 2, 2, 4], 1),
    ],
)
def test_merge_drops_what_conflicts_and_adds_what_is_new(
    new: tuple[int, ...], start: int, left: list[int], unwritten: int
) -> None:
    one = log(1, 2, 2)
    one.merge(entries(*new, start=start))
    assert terms(one) == left
    assert len(one.take_unwritten()) == unwritten
    assert not one.has_unwritten


def test_committed_entry_is_never_overwritten() -> None:
    one = log(1, 2, 2)
    one.committed = 2
    with pytest.raises(AssertionError, match="entry 2 conflicts with one that is committed"):
        one.merge(entries(3, start=2))


def test_entries_that_were_given_to_the_disk_and_replaced_are_given_again() -> None:
    one = log()
    one.append(entries(1, 1, 1))
    assert len(one.take_unwritten()) == 3
    one.merge(entries(2, start=2))
    assert one.take_unwritten() == (Entry(2, 2),)


@pytest.mark.parametrize(
    ("last", "newer"),
    [((3, 2), True), ((4, 2), True), ((1, 3), True), ((2, 2), False), ((9, 1), False)],
)
def test_log_is_up_to_date_by_term_first_and_then_by_length(
    *, last: tuple[int, int], newer: bool
) -> None:
    assert log(1, 2, 2).is_up_to_date(*last) is newer


@pytest.mark.parametrize(
    ("index", "term", "found"),
    [(9, 9, 6), (6, 4, 5), (5, 3, 3), (4, 1, 1), (6, 0, 0), (2, 2, 2)],
)
def test_last_possible_match_is_of_that_term_or_older(index: int, term: int, found: int) -> None:
    assert log(1, 2, 2, 4, 4, 6).last_possible_match(index, term) == found


def test_last_possible_match_ends_where_terms_are_unknown() -> None:
    one = log(5, 6, after=SnapshotMeta(10, 4))
    assert [one.last_possible_match(12, term) for term in (6, 5, 4, 3)] == [12, 11, 10, 9]
    assert one.last_possible_match(7, 1) == 7


def test_committed_entries_are_handed_out_once_and_in_portions() -> None:
    one = log(1, 1, 1, 1)
    one.committed = 3
    portions = [one.take_committed(2 * ENTRY_OVERHEAD_BYTES) for _ in range(3)]
    assert [[entry.index for entry in portion] for portion in portions] == [[1, 2], [3], []]


def test_portion_holds_an_entry_however_large() -> None:
    one = Log(SnapshotMeta(), [Entry(1, 1, data=b"x" * 1000)])
    assert entry_bytes(one.entries(1)[0]) == 1000 + ENTRY_OVERHEAD_BYTES
    assert len(one.entries_within(1, 2, 1)) == 1
    assert one.entries_within(2, 2, 1000) == ()


def test_compaction_forgets_what_a_snapshot_covers_and_no_more() -> None:
    one = log(1, 2, 2, 3)
    one.committed = 4
    with pytest.raises(AssertionError, match="compaction to 2 without a snapshot"):
        one.compact(2)
    one.snapshot = SnapshotMeta(3, 2)
    one.compact(2)
    one.compact(1)  # done already
    one.compact(-5)
    assert (one.base_index, one.base_term, terms(one)) == (2, 2, [2, 3])
    with pytest.raises(AssertionError, match="beyond the end"):
        one.compact(9)


def test_restore_begins_anew() -> None:
    one = log(1, 2)
    one.restore(SnapshotMeta(9, 5))
    assert (one.first_index, one.last_index, one.last_term) == (10, 9, 5)
    assert (one.committed, one.handed_out, one.has_unwritten) == (9, 9, False)
    one.append(entries(5, start=10))
    assert one.take_unwritten() == (Entry(5, 10),)


@pytest.mark.slow
@given(st.lists(st.integers(1, 3), max_size=8), st.lists(st.integers(1, 3), max_size=8), st.data())
def test_merge_does_what_the_paper_says_step_by_step(
    mine: list[int], theirs: list[int], data: st.DataObject
) -> None:
    mine, theirs = sorted(mine), sorted(theirs)
    common = data.draw(st.integers(0, min(len(mine), len(theirs))))
    theirs[:common] = mine[:common]
    one = log(*mine)
    one.merge(entries(*theirs[common:], start=common + 1))
    # Figure 3.1, AppendEntries 3 and 4: an entry that conflicts goes with all that follow it, and
    # what is not there is appended.
    twin = list(mine)
    for position in range(common, len(theirs)):
        if position < len(twin) and twin[position] != theirs[position]:
            del twin[position:]
        if position >= len(twin):
            twin.append(theirs[position])
    assert terms(one) == twin


def test_log_counts_the_newest_entries_within_both_bounds() -> None:
    one = log(1, 1, 2, 2, 3, after=SnapshotMeta(10, 1))
    size = ENTRY_OVERHEAD_BYTES
    assert one.count_within(15, 3, 100 * size) == 3
    assert one.count_within(15, 100, 2 * size) == 2
    assert one.count_within(14, 100, 100 * size) == 4
    assert one.count_within(15, 100, size - 1) == 0
    assert one.count_within(10, 100, 100 * size) == 0
