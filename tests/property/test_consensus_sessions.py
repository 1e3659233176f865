"""Whatever is sent again, late or never: a command is done once at most, on every node alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.consensus.core.messages import Configuration, Entry
from moreton.consensus.host import first_snapshot, machine_part
from moreton.consensus.host.errors import SnapshotRefused
from moreton.consensus.host.replicated.commands import decode_batch, encode_batch
from moreton.consensus.host.replicated.members import decode_addresses, encode_addresses
from moreton.consensus.host.replicated.sessions import SESSIONS_MAX, Sessions
from moreton.consensus.host.replicated.state import Replicated

numbers = st.integers(0, 2**64 - 2**32 - 1)
commands = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=8)


class Tally:
    """A machine that remembers what it did."""

    def __init__(self) -> None:
        self.done: list[bytes] = []

    def apply(self, index: int, command: bytes) -> object:
        self.done.append(command)
        return (index, len(self.done))

    def freeze(self) -> Callable[[], bytes]:
        held = b"".join(self.done)
        return lambda: held

    def restore(self, snapshot: bytes) -> None:
        self.done = [snapshot[at : at + 1] for at in range(len(snapshot))]


@given(node=numbers, nonce=numbers, oldest=numbers, items=commands)
def test_a_batch_comes_back(
    node: int, nonce: int, oldest: int, items: list[tuple[int, bytes]]
) -> None:
    numbered = [(oldest + offset, command) for offset, command in items]
    batch = decode_batch(encode_batch((node, nonce), oldest, numbered))
    assert (batch.session, batch.oldest, list(batch.commands)) == ((node, nonce), oldest, numbered)


@given(data=st.binary(max_size=100))
def test_any_bytes_are_a_batch_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        decode_batch(data)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, list[int]]]:
    """Batches of one proposer as they may reach the log: each again, late, in any order.

    The proposer's oldest undecided number only grows; a command is sent while it is undecided.
    """
    batches = []
    oldest = 0
    for _ in range(draw(st.integers(1, 12))):
        oldest += draw(st.integers(0, 3))
        sent = draw(st.lists(st.integers(oldest, oldest + 6), min_size=1, max_size=4, unique=True))
        batches.append((0, oldest, sent))
    again = draw(st.lists(st.sampled_from(batches), max_size=12))
    return draw(st.permutations([*batches, *again]))


@given(history=histories(), cut=st.integers(0, 24))
def test_a_command_is_done_once_at_most_and_alike_through_a_snapshot(
    history: list[tuple[int, int, list[int]]], cut: int
) -> None:
    whole, half = Tally(), Tally()
    one, other = Replicated(whole, {}), Replicated(half, {})
    for index, (_, oldest, sent) in enumerate(history, 1):
        if index == cut:
            other = Replicated(half := Tally(), {})
            other.restore(index, one.freeze()(), Configuration())
        items = [(number, bytes([number % 256])) for number in sent]
        entry = Entry(1, index, data=encode_batch((7, 7), oldest, items))
        results = one.apply(entry, (7, 7))
        assert [number for number, _ in results] == [n for n, _ in other.apply(entry, (7, 7))]
    assert whole.done == half.done
    assert len(set(whole.done)) == len(whole.done)
    # The first to come of a number that was never given up is done.
    first_oldest, first_sent = history[0][1], history[0][2]
    assert all(bytes([n % 256]) in whole.done for n in first_sent if n >= first_oldest)


def test_results_go_to_their_proposer_alone() -> None:
    state = Replicated(Tally(), {})
    entry = Entry(1, 5, data=encode_batch((1, 9), 1, [(1, b"a"), (2, b"b")]))
    assert state.apply(entry, (1, 9)) == [(1, (5, 1)), (2, (5, 2))]
    assert state.apply(entry, (1, 9)) == []
    again = Entry(1, 6, data=encode_batch((1, 8), 1, [(1, b"c")]))
    assert state.apply(again, (1, 9)) == []


def test_the_sessions_of_old_boots_are_forgotten_the_quietest_first() -> None:
    sessions = Sessions()
    for nonce in range(SESSIONS_MAX):
        sessions.of((1, nonce), 1).admit(1)
    sessions.of((1, 0), 1)
    sessions.of((1, SESSIONS_MAX), 1)
    assert len(sessions) == SESSIONS_MAX
    assert sessions.applied((1, 0)) == {1}
    assert sessions.applied((1, 1)) == frozenset()
    copy, end = Sessions.decode(sessions.encode())
    assert end == len(sessions.encode())
    assert copy.encode() == sessions.encode()


@given(addresses=st.dictionaries(st.integers(1, 99), st.text(max_size=20), max_size=5))
def test_a_first_snapshot_says_who_is_where_and_may_bring_a_state_along(
    addresses: dict[int, str],
) -> None:
    assert decode_addresses(encode_addresses(addresses)) == addresses
    tally = Tally()
    for machine in (None, b"abc"):
        data = first_snapshot(addresses, machine)
        assert machine_part(data) == machine
        state = Replicated(tally, {})
        state.restore(1, data, Configuration(voters=frozenset(addresses)))
        assert state.members.addresses == addresses
    assert tally.done == [b"a", b"b", b"c"]


@given(data=st.binary(max_size=80), cut=st.integers(0, 200))
def test_damaged_snapshots_are_refused_and_nothing_else_happens(data: bytes, cut: int) -> None:
    state = Replicated(Tally(), {})
    real = first_snapshot({1: "a:1", 2: "b:2"})
    for given_ in (data, real[: cut % len(real)]):
        with pytest.raises(SnapshotRefused, match="cannot be restored"):
            state.restore(1, given_, Configuration())
