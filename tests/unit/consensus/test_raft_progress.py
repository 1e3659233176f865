"""What a leader knows of one follower, alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.consensus.core.progress import Inflights, Progress, ProgressState, reconcile
from moreton.kernel.time import Instant


def progress(**fields: int) -> Progress:
    defaults = {"next": 5, "match": 3}
    return Progress(inflights=Inflights(3, 100), **(defaults | fields))  # type: ignore[arg-type]


def window(*indices: int, messages: int = 3, size: int = 10) -> Inflights:
    one = Inflights(messages, 100)
    for index in indices:
        one.add(index, size)
    return one


def test_window_is_full_of_messages_or_of_bytes() -> None:
    assert not window(1, 2).full
    assert window(1, 2, 3).full
    assert window(1, size=100).full
    assert not window(1, size=99).full
    assert not window().full


@pytest.mark.parametrize(("index", "left"), [(0, 3), (4, 3), (5, 2), (6, 2), (7, 1), (99, 0)])
def test_acknowledgement_frees_all_that_it_covers(index: int, left: int) -> None:
    one = window(5, 7, 9)
    one.free_to(index)
    assert (len(one), one.bytes) == (left, 10 * left)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=60))
def test_window_counts_the_bytes_that_are_in_it(steps: list[tuple[int, bool]]) -> None:
    one, twin, last = Inflights(1000, 1000), list[tuple[int, int]](), 0
    for number, adding in steps:
        if adding:
            last += number
            one.add(last, number)
            twin.append((last, number))
        else:
            one.free_to(last - number)
            twin = [(index, size) for index, size in twin if index > last - number]
        assert (len(one), one.bytes) == (len(twin), sum(size for _, size in twin))
    one.clear()
    assert (len(one), one.bytes) == (0, 0)


def test_probe_waits_for_its_answer() -> None:
    one = progress()
    assert not one.paused
    one.sent(6, count=2, size=50)
    assert (one.paused, one.next) == (True, 5)
    one.acknowledged(6)
    assert (one.paused, one.match, one.next) == (False, 6, 7)


def test_probe_without_entries_is_not_waited_for() -> None:
    one = progress()
    one.sent(4, count=0, size=0)
    assert not one.paused


def test_replication_goes_on_without_answers_until_the_window_is_full() -> None:
    one = progress()
    one.become_replicate()
    for index in (4, 5, 6):
        assert not one.paused
        one.sent(index, count=1, size=10)
    assert (one.paused, one.full, one.next, one.match) == (True, True, 7, 3)


def test_full_window_lets_a_question_without_entries_through_once_in_a_while() -> None:
    one = progress()
    one.become_replicate()
    for index in (4, 5, 6):
        one.sent(index, count=1, size=10)
    one.awaited = False  # a heartbeat was answered
    assert (one.paused, one.full) == (False, True)
    one.sent(6, count=0, size=0)
    assert (one.paused, len(one.inflights)) == (True, 3)


def test_snapshot_lets_nothing_through() -> None:
    one = progress()
    one.become_snapshot(20, Instant(9))
    assert (one.paused, one.pending_snapshot, one.snapshot_due) == (True, 20, Instant(9))


@pytest.mark.parametrize(("match", "following"), [(3, 21), (30, 31)])
def test_probe_after_a_snapshot_begins_behind_it(match: int, following: int) -> None:
    one = progress(match=match)
    one.become_snapshot(20)
    one.become_probe()
    assert (one.next, one.pending_snapshot, one.snapshot_due) == (following, 0, None)


def test_change_of_state_empties_the_window() -> None:
    one = progress()
    one.become_replicate()
    one.sent(4, count=1, size=10)
    one.become_probe()
    assert (one.state, len(one.inflights), one.next) == (ProgressState.PROBE, 0, 4)


def test_old_acknowledgement_is_no_news() -> None:
    one = progress()
    assert one.acknowledged(4)
    assert not one.acknowledged(4)
    assert not one.acknowledged(2)
    assert (one.match, one.next) == (4, 5)


@pytest.mark.parametrize(
    ("index", "hint", "taken", "following"),
    [
        (4, 2, True, 4),  # not before what matches
        (4, 3, True, 4),
        (4, 9, True, 4),  # no further than what was rejected
        (3, 0, False, 5),  # an answer to an older probe
        (9, 0, False, 5),
    ],
)
def test_rejected_probe_goes_back(*, index: int, hint: int, taken: bool, following: int) -> None:
    one = progress()
    one.awaited = True
    assert one.rejected(index, hint) is taken
    assert (one.next, one.awaited) == (following, not taken)


def test_rejected_probe_goes_back_as_far_as_the_hint() -> None:
    one = progress(match=0, next=50)
    assert one.rejected(49, 20)
    assert one.next == 21
    assert one.rejected(20, 0)
    assert one.next == 1


def test_rejection_while_replicating_begins_after_what_matches() -> None:
    one = progress()
    one.become_replicate()
    one.sent(4, count=1, size=10)
    one.sent(5, count=1, size=10)
    assert not one.rejected(3, 0)  # it matches by now
    assert one.next == 6
    assert one.rejected(5, 0)
    assert one.next == 4


def test_members_keep_what_is_known_of_them() -> None:
    old = progress()
    after = reconcile({1: old, 2: progress()}, [1, 3], next_index=9, messages_max=7, bytes_max=8)
    assert list(after) == [1, 3]
    assert after[1] is old
    new = after[3]
    assert (new.next, new.match, new.recently_active) == (9, 0, True)
    assert (new.inflights.messages_max, new.inflights.bytes_max) == (7, 8)
