from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.kernel.time import SystemClock
from moreton.store import Compare, Delete, LeaseId, Put, Range, Store, open_store
from moreton.store import host as hosting
from moreton.store.core.changes import Change, HistoryCompacted
from moreton.store.core.state import State
from moreton.store.errors import (
    Compacted,
    LeaseNotFound,
    StoreClosed,
    StoreError,
    StoreFailing,
    UnknownStoreUrl,
)
from moreton.store.host import Journal, LocalStore
from moreton.store.memory import open_memory_store

WEEK = timedelta(weeks=1)


class SlowJournal(Journal):
    """Makes changes durable when the test says so."""

    def __init__(self) -> None:
        self.submitted: list[Change] = []

    def start(self, committed: Callable[[int], None], failed: Callable[[StoreError], None]) -> None:
        self.committed = committed
        self.failed = failed

    def submit(self, change: Change) -> None:
        self.submitted.append(change)

    async def close(self) -> None:
        pass

    def commits(self) -> int:
        return 0

    def file_bytes(self) -> int:
        return 0


@pytest.fixture
def journal() -> SlowJournal:
    return SlowJournal()


@pytest.fixture
async def store(journal: SlowJournal) -> LocalStore:
    return LocalStore(State(), journal, clock=SystemClock())


async def started(*requests: object) -> list[asyncio.Task[object]]:
    tasks = [asyncio.ensure_future(request) for request in requests]  # type: ignore[call-overload]
    await asyncio.sleep(0)
    return tasks


async def value(store: Store, key: bytes) -> bytes | None:
    kvs = (await store.range(key)).kvs
    return kvs[0].value if kvs else None


async def test_write_is_unseen_until_durable(store: LocalStore, journal: SlowJournal) -> None:
    async with store.watch(b"a") as watch:
        write, seen = await started(store.put(b"a", b"1"), anext(watch))
        found = await store.range(b"a")
        assert (found.revision, found.kvs) == (1, ())
        assert not write.done()
        assert not seen.done()
        journal.committed(1)
        assert await write == 2
        assert (await store.range(b"a")).revision == 2
        await seen


async def test_queued_transactions_see_those_before_them(
    store: LocalStore, journal: SlowJournal
) -> None:
    free = Compare.version(b"a", "=", 0)
    first, second = await started(
        store.txn([free], [Put(b"a", b"1")]), store.txn([free], [Put(b"a", b"2")])
    )
    journal.committed(2)
    results = [await first, await second]
    assert [getattr(result, "succeeded", None) for result in results] == [True, False]


async def test_reading_transaction_waits_for_what_it_read(
    store: LocalStore, journal: SlowJournal
) -> None:
    write, read = await started(store.put(b"a", b"1"), store.txn(then=[Range(b"a")]))
    journal.committed(1)
    await write
    assert not read.done()
    journal.committed(1)
    assert getattr(await read, "revision", None) == 2


async def test_failure_undoes_everything_not_durable(
    store: LocalStore, journal: SlowJournal
) -> None:
    (kept,) = await started(store.put(b"a", b"kept"))
    journal.committed(1)
    await kept
    tasks = await started(
        store.put(b"a", b"lost"),
        store.delete(b"a"),
        store.grant(WEEK),
        store.txn(then=[Range(b"a")]),
        store.compact(2),
    )
    journal.failed(StoreFailing(path=Path("x"), reason="test"))
    for task in tasks:
        with pytest.raises(StoreFailing):
            await task
    assert await value(store, b"a") == b"kept"
    numbers = store.statistics()
    assert (numbers.revision, numbers.leases, numbers.writes_pending) == (2, 0, 0)
    again, compacted = await started(store.put(b"a", b"again"), store.compact(2))
    journal.committed(2)
    assert await again == 3
    await compacted


async def test_cancelled_writer_does_not_disturb_others(
    store: LocalStore, journal: SlowJournal
) -> None:
    cancelled, other = await started(store.put(b"a", b"1"), store.put(b"b", b"1"))
    cancelled.cancel()
    await asyncio.sleep(0)
    journal.committed(2)
    assert await other == 3
    # What was under way happens, only nobody waits for it.
    assert await value(store, b"a") == b"1"


async def test_writers_wait_when_too_many_are_under_way(
    store: LocalStore, journal: SlowJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "WRITES_PENDING_MAX", 3)
    tasks = await started(*(store.put(b"%d" % number, b"") for number in range(5)))
    assert len(journal.submitted) == 3
    journal.committed(3)
    await asyncio.gather(*tasks[:3])
    await asyncio.sleep(0)
    assert len(journal.submitted) == 5
    journal.committed(2)
    await asyncio.gather(*tasks)


async def test_writers_wait_when_too_many_bytes_are_under_way(
    store: LocalStore, journal: SlowJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "BYTES_PENDING_MAX", 1000)
    tasks = await started(*(store.put(b"%d" % number, bytes(600)) for number in range(4)))
    assert len(journal.submitted) == 2
    journal.committed(2)
    await asyncio.gather(*tasks[:2])
    await asyncio.sleep(0)
    assert len(journal.submitted) == 4
    journal.committed(2)
    await asyncio.gather(*tasks)


async def test_keep_alive_writes_nothing(store: LocalStore, journal: SlowJournal) -> None:
    (granting,) = await started(store.grant(WEEK))
    journal.committed(1)
    lease = await granting
    before = len(journal.submitted)
    assert await store.keep_alive(lease) == WEEK  # type: ignore[arg-type]
    assert len(journal.submitted) == before


async def test_second_compaction_waits_for_no_first(
    store: LocalStore, journal: SlowJournal
) -> None:
    writes = await started(*(store.put(b"a", b"%d" % number) for number in range(5)))
    journal.committed(5)
    await asyncio.gather(*writes)
    (first,) = await started(store.compact(5))
    with pytest.raises(Compacted):
        await store.compact(4)
    journal.committed(1)
    await first


async def test_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "HISTORY_EVENTS_KEPT", 10)
    store = open_memory_store()
    async with store.watch(b"a") as slow:
        for number in range(100):
            await store.put(b"a", b"%d" % number)
            assert store.statistics().history_events <= 11
        with pytest.raises(Compacted) as caught:
            await anext(slow)
    assert caught.value.compact_revision == store.statistics().compact_revision
    assert await value(store, b"a") == b"99"
    await store.close()


async def test_history_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "HISTORY_BYTES_KEPT", 10_000)
    store = open_memory_store()
    for _ in range(100):
        await store.put(b"a", bytes(1000))
        assert store.statistics().history_bytes <= 12_500
    await store.close()


async def test_history_under_way_is_not_compacted(
    store: LocalStore, journal: SlowJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "HISTORY_EVENTS_KEPT", 3)
    writes = await started(*(store.put(b"a", b"%d" % number) for number in range(20)))
    journal.committed(2)
    assert journal.submitted[20:] == [HistoryCompacted(3, ((2, b"a"),))]
    journal.committed(18)
    journal.committed(1)
    await asyncio.gather(*writes)
    assert store.statistics().compact_revision == 3
    assert isinstance(journal.submitted[-1], HistoryCompacted)
    assert journal.submitted[-1].revision == 19


async def test_closed_store_refuses_everything() -> None:
    store = open_memory_store()
    lease = await store.grant(WEEK)
    async with store.watch(b"a") as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        with pytest.raises(StoreClosed):
            await waiting
    for request in (
        store.range(b"a"),
        store.put(b"a", b"1"),
        store.txn(then=[Delete(b"a")]),
        store.grant(WEEK),
        store.keep_alive(lease),
        store.revoke(lease),
        store.compact(1),
    ):
        with pytest.raises(StoreClosed):
            await request


async def test_closed_store_ends_no_lease() -> None:
    store = open_memory_store()
    await store.grant(timedelta(milliseconds=1))
    await store.close()
    assert store._timer is None


async def test_watch_that_was_left_costs_nothing() -> None:
    store = open_memory_store()
    async with store.watch(b"a"), store.watch(b"a", b"b"):
        assert store.statistics().watches == 2
    assert store.statistics().watches == 0
    assert not store._hub._of_key
    await store.close()


async def test_bad_arguments_are_refused() -> None:
    store = open_memory_store()
    for ttl in (timedelta(0), timedelta.max):
        with pytest.raises(ValueError, match="a lease cannot live"):
            await store.grant(ttl)
    for lease in (0, -1, 1 << 63):
        with pytest.raises(ValueError, match="is not within"):
            await store.grant(WEEK, lease=LeaseId(lease))
    with pytest.raises(ValueError, match="below 1"):
        async with store.watch(b"a", from_revision=0):
            pass
    with pytest.raises(LeaseNotFound):
        await store.keep_alive(store._free_lease_id())
    await store.close()


@pytest.mark.parametrize("url", ["", "sqlite:", "sqlite:///", "redis://localhost", "memory"])
async def test_unknown_address_is_refused(url: str) -> None:
    with pytest.raises(UnknownStoreUrl, match="is not the address of a store"):
        open_store(url)
