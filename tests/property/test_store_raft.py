"""The raft store's pure core: commands and snapshots come back as they were; replicas agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.store.core.keys import NO_END
from moreton.store.core.model import (
    Compare,
    Delete,
    Lease,
    LeaseId,
    Put,
    Range,
    Transaction,
    WatchBatch,
)
from moreton.store.core.state import State
from moreton.store.raft.core.commands import (
    Begin,
    Command,
    Compact,
    Expire,
    Grant,
    Revoke,
)
from moreton.store.raft.core.encoding import decode, encode
from moreton.store.raft.core.replica import Done, Replica
from moreton.store.raft.core.snapshot import freeze, thaw

KEYS = st.sampled_from([b"a", b"b", b"c", b"\0", b"\xff"])
ENDS = st.none() | st.sampled_from([NO_END, b"b", b"c"])
LEASES = st.sampled_from([LeaseId(1), LeaseId(2), LeaseId((1 << 63) - 1)])
NUMBERS = st.integers(min_value=-(1 << 63) + 1, max_value=(1 << 63) - 1)
OPERATORS = st.sampled_from(["=", "!=", ">", "<"])
PUTS = st.builds(Put, KEYS, st.binary(max_size=3), st.none() | LEASES)
DELETES = st.builds(Delete, KEYS, ENDS)
RANGES = st.builds(
    Range, KEYS, ENDS, st.none() | st.integers(1, 30), st.none() | st.integers(1, 1 << 62)
)
COMPARES = st.builds(Compare.value, KEYS, OPERATORS, st.binary(max_size=3)) | st.builds(
    Compare, KEYS, st.sampled_from(["version", "create", "mod", "lease"]), OPERATORS, NUMBERS, ENDS
)


def branch(ops: list[Put | Delete | Range]) -> tuple[Put | Delete | Range, ...]:
    """At most one write of a branch, so that it is always a valid one."""
    writes = [op for op in ops if not isinstance(op, Range)]
    return (*[op for op in ops if isinstance(op, Range)], *writes[:1])


BRANCHES = st.lists(PUTS | DELETES | RANGES, max_size=4).map(branch)
TRANSACTIONS = st.builds(Transaction, st.lists(COMPARES, max_size=2).map(tuple), BRANCHES, BRANCHES)
TTLS = st.timedeltas(timedelta(microseconds=1), timedelta(days=99_999))
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    TRANSACTIONS,
    st.builds(Grant, st.builds(Lease, LEASES, TTLS)),
    st.builds(Revoke, LEASES),
    st.builds(Expire, st.lists(LEASES, max_size=3).map(tuple), st.integers(0, 3)),
    st.builds(Begin, st.integers(0, 3)),
    st.builds(Compact, st.integers(-1, 20)),
)
SENT = st.lists(COMMANDS, max_size=40)
many: Callable[[Callable[..., None]], Callable[..., None]] = settings(
    deadline=None, derandomize=True, max_examples=150
)


def memory(replica: Replica) -> object:
    state: State = replica.state
    keys = tuple(state.keyspace.get(key) for key in state.keyspace.keys(b"", NO_END))
    batches: tuple[WatchBatch, ...] = tuple(state.history.between(0, state.revision))
    sizes = (state.history.events, state.history.bytes)
    numbers = (state.revision, state.compact_revision, replica.term)
    return keys, batches, sizes, numbers, dict(state.leases)


def run(replica: Replica, sent: list[Command]) -> list[object]:
    return [shown(replica.apply(encode(command))) for command in sent]


def shown(done: Done) -> object:
    if not isinstance(done.answer, Exception):
        return done
    return type(done.answer), str(done.answer)


@many
@given(COMMANDS)
def test_command_decoded_is_the_command_encoded(command: Command) -> None:
    data = encode(command)
    assert decode(data) == command
    assert encode(decode(data)) == data


@many
@given(COMMANDS, st.data())
def test_command_cut_short_or_with_more_is_refused(command: Command, data: st.DataObject) -> None:
    whole = encode(command)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="bytes"):
        decode(whole[:cut])
    with pytest.raises(ValueError, match="left over"):
        decode(whole + b"\0")


@many
@given(SENT, SENT)
def test_replica_thawed_from_a_snapshot_goes_on_as_the_one_it_was_frozen_from(
    before: list[Command], after: list[Command]
) -> None:
    original = Replica()
    run(original, before)
    snapshot = freeze(original)
    copy = thaw(snapshot.encode())
    frozen = memory(copy)
    assert frozen == memory(original)
    assert run(copy, after) == run(original, after)
    assert memory(copy) == memory(original)
    # What was held fast did not move on with the original.
    assert memory(thaw(snapshot.encode())) == frozen


@many
@given(SENT, st.data())
def test_snapshot_cut_short_is_refused(sent: list[Command], data: st.DataObject) -> None:
    replica = Replica()
    run(replica, sent)
    whole = freeze(replica).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"bytes are wanted|history has"):
        thaw(whole[:cut])
