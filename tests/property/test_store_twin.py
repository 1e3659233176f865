"""The SQLite store against a twin that keeps a whole copy of its keys for every revision."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moreton.store import Compare, Delete, KeyValue, LeaseId, Put, Range
from moreton.store.core.keys import NO_END
from moreton.store.core.model import CompareOperator, Op
from moreton.store.errors import (
    Compacted,
    DuplicateKey,
    LeaseExists,
    LeaseNotFound,
    StoreReadOnly,
)
from moreton.store.host import LocalStore
from moreton.store.sqlite import open_sqlite_store
from moreton.store.sqlite.journal import SqliteJournal

AnswerT = TypeVar("AnswerT")

KEYS = st.sampled_from([b"a", b"a\0", b"ab", b"b", b"\0", b"\xff\xff"])
ENDS = st.none() | st.just(NO_END) | KEYS
VALUES = st.binary(max_size=3) | st.just(b"x" * 9000)
LEASES = st.sampled_from([LeaseId(1), LeaseId(2), LeaseId(3)])
PUTS = st.builds(Put, KEYS, VALUES, st.none() | LEASES)
DELETES = st.builds(Delete, KEYS, ENDS)
OPS = st.lists(PUTS | DELETES, max_size=5)
NUMBERS = st.integers(min_value=0, max_value=5)
OPERATORS: st.SearchStrategy[CompareOperator] = st.sampled_from(["=", "!=", "<", ">"])
WEEK = timedelta(weeks=1)


def within(key: bytes, op: Delete | Range) -> bool:
    if op.end is None:
        return key == op.key
    return key >= op.key and (op.end == NO_END or key < op.end)


@dataclass
class Twin:
    """Obviously right, and nothing else."""

    past: list[dict[bytes, KeyValue]] = field(default_factory=lambda: [{}, {}])
    leases: set[LeaseId] = field(default_factory=set)
    compacted: int = 0

    @property
    def revision(self) -> int:
        return len(self.past) - 1

    @property
    def now(self) -> dict[bytes, KeyValue]:
        return self.past[-1]

    def refusal(self, ops: list[Op]) -> type[Exception] | None:
        puts = [op for op in ops if isinstance(op, Put)]
        gone = [op for op in ops if isinstance(op, Delete)]
        if len({op.key for op in puts}) < len(puts):
            return DuplicateKey
        if any(within(put.key, delete) for put in puts for delete in gone):
            return DuplicateKey
        if any(op.lease is not None and op.lease not in self.leases for op in puts):
            return LeaseNotFound
        return None

    def run(self, ops: list[Op]) -> None:
        keys, revision, changed = dict(self.now), self.revision + 1, False
        for op in ops:
            if isinstance(op, Put):
                old = keys.get(op.key)
                created = old.create_revision if old else revision
                version = old.version + 1 if old else 1
                keys[op.key] = KeyValue(op.key, op.value, created, revision, version, op.lease)
                changed = True
            elif isinstance(op, Delete):
                gone = [key for key in keys if within(key, op)]
                changed = changed or bool(gone)
                for key in gone:
                    del keys[key]
        if changed:
            self.past.append(keys)

    def revoke(self, lease: LeaseId) -> None:
        self.leases.remove(lease)
        self.run([Delete(key) for key, kv in self.now.items() if kv.lease == lease])

    def differences(self, revision: int) -> set[tuple[str, bytes, KeyValue | None]]:
        before, after = self.past[revision - 1], self.past[revision]
        puts = {("put", key, kv) for key, kv in after.items() if before.get(key) != kv}
        return puts | {("delete", key, None) for key in before if key not in after}


class StoreMatchesTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.twin = Twin()

    def do(self, request: Coroutine[object, object, AnswerT]) -> AnswerT:
        return self.runner.run(request)

    @initialize()
    def open(self) -> None:
        async def open_it() -> LocalStore:
            return open_sqlite_store(self.folder / "store.sqlite")

        self.store = self.do(open_it())

    def teardown(self) -> None:
        self.do(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule(ops=OPS)
    def transact(self, ops: list[Op]) -> None:
        refusal = self.twin.refusal(ops)
        if refusal is not None:
            with pytest.raises(refusal):
                self.do(self.store.txn(then=ops))
            return
        result = self.do(self.store.txn(then=ops))
        self.twin.run(ops)
        assert result.revision == self.twin.revision

    @rule(puts=st.lists(st.builds(Put, KEYS, VALUES), min_size=2, max_size=20))
    def put_together(self, puts: list[Put]) -> None:
        async def put_all() -> list[int]:
            return await asyncio.gather(*(self.store.put(put.key, put.value) for put in puts))

        first = self.twin.revision + 1
        assert self.do(put_all()) == list(range(first, first + len(puts)))
        for put in puts:
            self.twin.run([put])

    @rule(key=KEYS, number=NUMBERS, operator=OPERATORS, put=st.builds(Put, KEYS, VALUES))
    def put_on_condition(
        self, key: bytes, number: int, operator: CompareOperator, put: Put
    ) -> None:
        condition = Compare.version(key, operator, number)
        result = self.do(self.store.txn([condition], [put], [Delete(put.key)]))
        version = self.twin.now[key].version if key in self.twin.now else 0
        holds = {
            "=": version == number,
            "!=": version != number,
            "<": version < number,
            ">": version > number,
        }[operator]
        assert result.succeeded == holds
        self.twin.run([put] if holds else [Delete(put.key)])

    @rule(lease=LEASES)
    def grant(self, lease: LeaseId) -> None:
        if lease in self.twin.leases:
            with pytest.raises(LeaseExists):
                self.do(self.store.grant(WEEK, lease=lease))
            return
        assert self.do(self.store.grant(WEEK, lease=lease)) == lease
        self.twin.leases.add(lease)

    @rule(lease=LEASES)
    def revoke(self, lease: LeaseId) -> None:
        if lease not in self.twin.leases:
            with pytest.raises(LeaseNotFound):
                self.do(self.store.revoke(lease))
            return
        self.do(self.store.revoke(lease))
        self.twin.revoke(lease)

    @precondition(lambda self: self.twin.compacted < self.twin.revision)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(self.twin.compacted + 1, self.twin.revision))
        self.do(self.store.compact(revision))
        self.twin.compacted = revision

    @rule(data=st.data(), key=KEYS, end=ENDS, limit=st.none() | st.integers(1, 4))
    def read(self, data: st.DataObject, key: bytes, end: bytes | None, limit: int | None) -> None:
        revision = data.draw(st.integers(1, self.twin.revision))
        request = self.store.range(key, end, revision=revision, limit=limit)
        if revision < self.twin.compacted:
            with pytest.raises(Compacted):
                self.do(request)
            return
        found = self.do(request)
        past = self.twin.past[revision]
        expected = [past[k] for k in sorted(past) if within(k, Range(key, end))]
        assert list(found.kvs) == expected[:limit]
        assert found.count == len(expected)
        assert found.revision == self.twin.revision

    @rule(data=st.data())
    def watch(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(max(self.twin.compacted, 2), self.twin.revision + 1))

        async def seen() -> dict[int, set[tuple[str, bytes, KeyValue | None]]]:
            found: dict[int, set[tuple[str, bytes, KeyValue | None]]] = {}
            async with self.store.watch(b"", NO_END, from_revision=first) as watch:
                for _ in range(first, self.twin.revision + 1):
                    batch = await anext(watch)
                    found[batch.revision] = {
                        (event.kind, event.kv.key, event.kv if event.kind == "put" else None)
                        for event in batch.events
                    }
            return found

        revisions = range(first, self.twin.revision + 1)
        assert self.do(seen()) == {number: self.twin.differences(number) for number in revisions}

    @rule()
    def restart(self) -> None:
        self.do(self.store.close())
        self.open()

    @rule(ops=st.lists(st.builds(Put, KEYS, VALUES), min_size=1, max_size=5))
    def fail(self, ops: list[Put]) -> None:
        assert isinstance(self.store._journal, SqliteJournal)
        database = self.store._journal._file._db

        async def put_all() -> list[object]:
            writes = (self.store.put(put.key, put.value) for put in ops)
            return await asyncio.gather(*writes, self.store.grant(WEEK), return_exceptions=True)

        database.execute("PRAGMA query_only = ON")
        outcomes = self.do(put_all())
        database.execute("PRAGMA query_only = OFF")
        assert [type(outcome) for outcome in outcomes] == [StoreReadOnly] * (len(ops) + 1)

    @invariant()
    def shows_what_the_twin_shows(self) -> None:
        if not hasattr(self, "store"):
            return
        found = self.do(self.store.range(b"", NO_END))
        assert {kv.key: kv for kv in found.kvs} == self.twin.now
        numbers = self.store.statistics()
        assert (found.revision, numbers.leases) == (self.twin.revision, len(self.twin.leases))
        assert numbers.compact_revision == self.twin.compacted


StoreMatchesTwin.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)

# Collected by pytest, since it is named so.
TestStoreMatchesTwin = StoreMatchesTwin.TestCase
