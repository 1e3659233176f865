"""The store's pure core: a fold of the log gives back what was written, an undo takes it back."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.store import Delete, LeaseId, Put
from moreton.store.core.changes import Change
from moreton.store.core.fold import fold
from moreton.store.core.keys import NO_END
from moreton.store.core.model import Lease, Op, Transaction
from moreton.store.core.state import State
from moreton.store.sqlite.schema import SCHEMA, SELECT_EVENTS, read_event, read_lease, statements

KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
PUTS = st.builds(Put, KEYS, st.binary(max_size=2), st.sampled_from([None, LeaseId(1)]))
DELETES = st.builds(Delete, KEYS, st.sampled_from([None, NO_END, b"c"]))
# A transaction, or "compact", or "revoke and grant the lease anew".
STEPS = st.lists(PUTS | DELETES | st.sampled_from(["compact", "revoke"]), max_size=40)
LEASE = Lease(LeaseId(1), timedelta(seconds=5))


def take(state: State, step: Op | str) -> list[Change]:
    if step == "revoke":
        return [state.revoke(LEASE.id), state.grant(LEASE)]
    if step == "compact":
        if state.compact_revision == state.revision:
            return []
        plan = state.plan_compaction(state.revision, visible=state.revision)
        state.compact(plan.revision)
        return [plan]
    assert not isinstance(step, str)
    return [state.apply(Transaction(then=(step,)))[1]]


def memory(state: State) -> object:
    batches = tuple(state.history.between(0, state.revision))
    keys = tuple(state.keyspace.get(key) for key in state.keyspace.keys(b"", NO_END))
    attached = tuple(state.keyspace.attached(LEASE.id))
    numbers = (state.revision, state.compact_revision)
    return keys, batches, numbers, dict(state.leases), attached


@settings(deadline=None, derandomize=True, max_examples=200)
@given(STEPS)
def test_state_folded_from_its_rows_is_the_state(steps: list[Op | str]) -> None:
    state = State()
    changes: list[Change] = [state.grant(LEASE)]
    for step in steps:
        changes.extend(take(state, step))
    database = sqlite3.connect(":memory:", isolation_level=None)
    for line in SCHEMA:
        database.execute(line)
    for change in changes:
        for statement in statements([change]):
            database.execute(*statement)
    (compacted,) = database.execute("SELECT revision FROM compaction").fetchone()
    leases = [read_lease(row) for row in database.execute("SELECT * FROM leases")]
    records = map(read_event, database.execute(SELECT_EVENTS))
    folded = fold(records, leases=leases, compact_revision=compacted)
    rows = database.execute("SELECT count(*) FROM events").fetchone()[0]
    database.close()
    assert memory(folded) == memory(state)
    # Compaction leaves no record that nobody can read.
    assert rows <= len(state.keyspace) + state.history.events * 2


@settings(deadline=None, derandomize=True, max_examples=200)
@given(STEPS, STEPS)
def test_undone_changes_leave_no_trace(kept: list[Op | str], undone: list[Op | str]) -> None:
    state = State()
    state.grant(LEASE)
    for step in kept:
        take(state, step)
    before = memory(state)
    changes: list[Change] = []
    for step in undone:
        if step != "compact":
            changes.extend(take(state, step))
    for change in reversed(changes):
        state.undo(change)
    assert memory(state) == before
