"""Who may go in: the rule against what must hold, for any queue."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.election.core.queue import (
    Entry,
    GoIn,
    NotThere,
    WaitFor,
    entries_of,
    in_of,
    turn_of,
)
from moreton.store import KeyValue

pytestmark = pytest.mark.slow

PREFIX = b"/moreton/lock/x/"


def key(number: int, suffix: str = "") -> bytes:
    return PREFIX + f"{number:016x}{suffix}".encode()


def queue(*suffixes: str) -> list[Entry]:
    """Entries in order of arrival, whose keys sort the other way round."""
    found = [
        KeyValue(key(1000 - at, suffix), b"", at + 1, at + 1, 1)
        for at, suffix in enumerate(suffixes)
    ]
    return entries_of(PREFIX, found[::-1])


kinds = st.lists(st.sampled_from(["", ".read"]), min_size=1, max_size=12)
permits = st.lists(st.integers(1, 4).map(lambda n: f".{n}"), min_size=1, max_size=12)


@given(st.one_of(kinds, permits))
def test_somebody_may_always_go_in(suffixes: list[str]) -> None:
    assert in_of(queue(*suffixes))


@given(kinds)
def test_writer_is_in_alone(suffixes: list[str]) -> None:
    inside = in_of(queue(*suffixes))
    assert len(inside) == 1 or all(entry.reads for entry in inside)


@given(permits)
def test_never_more_are_in_than_the_fewest_permits_that_those_inside_speak_of(
    suffixes: list[str],
) -> None:
    inside = in_of(queue(*suffixes))
    assert len(inside) <= min(entry.permits for entry in inside)


@given(st.one_of(kinds, permits))
def test_nobody_goes_in_before_one_of_its_kind_that_came_first(suffixes: list[str]) -> None:
    entries = queue(*suffixes)
    for at, entry in enumerate(entries):
        if isinstance(turn_of(entry.key, entries), GoIn):
            same = [e for e in entries[:at] if (e.reads, e.permits) == (entry.reads, entry.permits)]
            assert all(isinstance(turn_of(e.key, entries), GoIn) for e in same)


@given(st.one_of(kinds, permits), st.randoms(use_true_random=False))
def test_queue_empties_by_itself_when_each_acts_only_when_it_is_woken(
    suffixes: list[str], rng: random.Random
) -> None:
    """No wake-up is missed: a waiter looks again only when what it waits for is gone."""
    entries = queue(*suffixes)
    waits: dict[bytes, WaitFor] = {}
    inside: list[Entry] = []
    left = list(entries)
    gone: set[bytes] = set()

    def look(entry: Entry) -> None:
        match turn_of(entry.key, left):
            case GoIn():
                inside.append(entry)
                waits.pop(entry.key, None)
            case WaitFor() as wait:
                waits[entry.key] = wait
            case NotThere():
                raise AssertionError(entry)

    for entry in entries:
        look(entry)
    while left:
        assert inside, f"everyone waits: {waits}"
        leaver = rng.choice(inside)
        inside.remove(leaver)
        left.remove(leaver)
        gone.add(leaver.key)
        for entry in list(left):
            wait = waits.get(entry.key)
            if wait is not None and len(wait.keys & gone) >= wait.count:
                look(entry)
    assert not waits


def test_waiter_for_a_lock_waits_for_the_one_before_it_alone() -> None:
    entries = queue("", "", "", "")
    wait = turn_of(entries[3].key, entries)
    assert wait == WaitFor(frozenset({entries[2].key}), 1, entries[0])


def test_reader_waits_for_the_last_writer_before_it_alone() -> None:
    entries = queue("", ".read", "", ".read", ".read")
    wait = turn_of(entries[4].key, entries)
    assert wait == WaitFor(frozenset({entries[2].key}), 1, entries[0])


def test_waiter_for_a_permit_waits_for_as_many_as_must_leave() -> None:
    entries = queue(".3", ".3", ".3", ".3", ".3")
    wait = turn_of(entries[4].key, entries)
    assert wait == WaitFor(frozenset(e.key for e in entries[:4]), 2, entries[0])


def test_entry_that_is_gone_has_no_turn() -> None:
    assert turn_of(key(7), queue("", "")) == NotThere()


def test_keys_that_are_not_entries_are_left_out_and_unknown_kinds_go_in_alone() -> None:
    found = [
        KeyValue(PREFIX + b"notes", b"", 1, 1, 1),
        KeyValue(key(2, ".later-kind"), b"", 2, 2, 1),
        KeyValue(key(1, ".read"), b"", 3, 3, 1),
        KeyValue(key(3) + b"/x", b"", 4, 4, 1),
    ]
    entries = entries_of(PREFIX, found)
    assert [entry.token for entry in entries] == [2, 3]
    assert isinstance(turn_of(key(1, ".read"), entries), WaitFor)
