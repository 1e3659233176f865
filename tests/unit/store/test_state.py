from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.store import Compare, Delete, LeaseId, Put, Range, prefix_end
from moreton.store.core.changes import Change, HistoryCompacted, LeaseRevoked, Written
from moreton.store.core.errors import Compacted, LeaseNotFound
from moreton.store.core.keys import NO_END, covers
from moreton.store.core.model import Lease, Op, RangeResult, Transaction
from moreton.store.core.state import State

LEASE = Lease(LeaseId(7), timedelta(seconds=5))
ALL = Range(b"", NO_END)


def apply(state: State, *ops: Op) -> Change:
    return state.apply(Transaction(then=ops))[1]


def values(state: State, *, visible: int | None = None) -> dict[bytes, bytes]:
    newest = state.revision if visible is None else visible
    return {kv.key: kv.value for kv in state.read(ALL, visible=newest).kvs}


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"a", b"b"), (b"a/", b"a0"), (b"a\xff", b"b"), (b"\xff\xff", NO_END), (b"", NO_END)],
)
def test_prefix_end_covers_exactly_the_prefix(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end
    for tail in (b"", b"\0", b"\xff", b"\xff\xff\xff"):
        assert covers(prefix + tail, prefix, end)


def test_empty_store_is_at_revision_one() -> None:
    state = State()
    assert state.revision == 1
    assert state.read(ALL, visible=1) == RangeResult(1, (), 0)


def test_reader_sees_only_what_is_visible() -> None:
    state = State()
    apply(state, Put(b"a", b"1"))
    apply(state, Put(b"a", b"2"), Put(b"b", b"2"))
    apply(state, Delete(b"a"))
    assert values(state, visible=1) == {}
    assert values(state, visible=2) == {b"a": b"1"}
    assert values(state, visible=3) == {b"a": b"2", b"b": b"2"}
    assert values(state, visible=4) == {b"b": b"2"}


def test_undo_restores_keys_revision_and_leases() -> None:
    state = State()
    state.grant(LEASE)
    apply(state, Put(b"a", b"1", LEASE.id), Put(b"b", b"1"))
    before = state.read(ALL, visible=2)
    revoked = state.revoke(LEASE.id)
    later = apply(state, Put(b"a", b"2"), Delete(b"b"))
    assert values(state) == {b"a": b"2"}
    state.undo(later)
    state.undo(revoked)
    assert state.read(ALL, visible=2) == before
    assert state.revision == 2
    assert state.keyspace.attached(LEASE.id) == [b"a"]
    assert state.history.events == 2


def test_undone_grant_is_gone() -> None:
    state = State()
    state.undo(state.grant(LEASE))
    with pytest.raises(LeaseNotFound):
        apply(state, Put(b"a", b"1", LEASE.id))


def test_revoking_a_lease_without_keys_writes_no_batch() -> None:
    state = State()
    state.grant(LEASE)
    assert state.revoke(LEASE.id) == LeaseRevoked(LEASE, None)
    assert state.revision == 1


def test_compaction_leaves_behind_what_nobody_can_read() -> None:
    state = State()
    for ops in (
        [Put(b"a", b"1"), Put(b"b", b"1")],  # 2
        [Put(b"a", b"2")],  # 3
        [Delete(b"b")],  # 4
        [Put(b"c", b"1")],  # 5
        [Delete(b"c")],  # 6
        [Put(b"a", b"3")],  # 7
    ):
        apply(state, *ops)
    plan = state.plan_compaction(6, visible=7)
    # The delete at 6 stays: a watch from 6 on must see it.
    assert sorted(plan.dead) == [(2, b"a"), (2, b"b"), (4, b"b"), (5, b"c")]
    state.compact(6)
    again = state.plan_compaction(7, visible=7)
    assert sorted(again.dead) == [(3, b"a"), (6, b"c")]


def test_planned_compaction_changes_nothing_before_it_is_durable() -> None:
    state = State()
    apply(state, Put(b"a", b"1"))
    apply(state, Put(b"a", b"2"))
    plan = state.plan_compaction(3, visible=3)
    assert isinstance(plan, HistoryCompacted)
    assert state.read(Range(b"a", revision=2), visible=3).kvs[0].value == b"1"
    state.compact(3)
    with pytest.raises(Compacted):
        state.read(Range(b"a", revision=2), visible=3)


def test_history_tells_what_to_keep() -> None:
    state = State()
    for number in range(10):
        apply(state, Put(b"a", b"%d" % number))
    assert state.history.revision_to_keep(events=100, size=10**6) == 2
    assert state.history.revision_to_keep(events=100, size=0) is None
    keep = state.history.revision_to_keep(events=4, size=10**6)
    assert keep == 8
    state.compact(keep)
    # The batch at the compact revision stays for watches.
    assert [batch.revision for batch in state.history.between(1, 99)] == [8, 9, 10, 11]


def test_comparison_needs_the_right_kind_of_operand() -> None:
    with pytest.raises(TypeError):
        Compare(b"a", "value", "=", 1)
    with pytest.raises(TypeError):
        Compare(b"a", "version", "=", b"1")


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        Put(b"", b"1")
    for build in (
        lambda: Put("a", b"1"),  # type: ignore[arg-type]
        lambda: Put(b"a", "1"),  # type: ignore[arg-type]
        lambda: Delete("a"),  # type: ignore[arg-type]
        lambda: Range(b"a", "b"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="are bytes"):
            build()
    with pytest.raises(ValueError, match="limit 0"):
        Range(b"a", limit=0)
    with pytest.raises(ValueError, match="revision 0"):
        Range(b"a", revision=0)


def test_written_change_carries_the_batch_that_watches_see() -> None:
    state = State()
    change = apply(state, Put(b"a", b"1"))
    assert isinstance(change, Written)
    assert list(state.history.between(2, 2)) == [change.batch]
