from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from moreton.controlplane.quotas.dividing import Divider
from moreton.controlplane.quotas.keys import GRANTS, report_key
from moreton.ratelimit.quota import FLOOR, Quota
from moreton.ratelimit.quota.core.messages import (
    Grants,
    Report,
    decode_grants,
    encode_grants,
    encode_report,
)
from moreton.store import Compare, Store, TxnResult
from moreton.store.core.model import Op
from moreton.store.memory import open_memory_store

QUOTAS: Mapping[str, Quota] = {"q": Quota(100.0, 100)}


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_memory_store()
    yield store
    await store.close()


@contextlib.asynccontextmanager
async def dividing(store: Store, quotas: Mapping[str, Quota] = QUOTAS) -> AsyncIterator[None]:
    """A leader that divides."""

    async def write(then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        return await store.txn(compare, then)

    edited = asyncio.Event()
    task = asyncio.create_task(Divider(store, lambda: (quotas, edited)).run(write))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def say(store: Store, holder: str, demand: float, holds: float, seen: int) -> None:
    report = Report({"q": demand}, {"q": holds}, seen, life=1)
    await store.put(report_key(holder), encode_report(report))


async def granted(store: Store, shares: Mapping[str, float]) -> Grants:
    """The grants once they are *shares*, or nearly."""
    async with asyncio.timeout(5):
        while True:
            found = await store.range(GRANTS)
            grants = decode_grants(found.kvs[0].value) if found.kvs else None
            held = {} if grants is None else grants.shares.get("q", {})
            if grants is not None and held == pytest.approx(dict(shares)):
                return grants
            await asyncio.sleep(0)


async def test_reports_become_grants(store: Store) -> None:
    async with dividing(store):
        await say(store, "a/public", 500.0, FLOOR, 0)
        first = await granted(store, {"a/public": 1.0})
        await say(store, "b/public", 500.0, FLOOR, 0)
        lowered = await granted(store, {"a/public": 0.5, "b/public": FLOOR})
        assert lowered.number > first.number
        await say(store, "a/public", 500.0, 0.5, lowered.number)
        await granted(store, {"a/public": 0.5, "b/public": 0.5})


async def test_the_next_leader_goes_on_with_what_was_granted(store: Store) -> None:
    before = Grants(
        9,
        {"q": {"a/public": 0.7, "b/public": 0.3}},
        {"q": {"a/public": 0.7, "b/public": 0.3}},
        {"a/public": 1, "b/public": 1},
    )
    await store.put(GRANTS, encode_grants(before))
    await say(store, "a/public", 70.0, 0.7, 9)
    async with dividing(store):
        # b said nothing: its lease ended while nobody led.
        grants = await granted(store, {"a/public": 1.0})
    assert grants.number > 9


async def test_a_holder_whose_report_goes_has_no_share(store: Store) -> None:
    async with dividing(store):
        await say(store, "a/public", 500.0, FLOOR, 0)
        await granted(store, {"a/public": 1.0})
        await store.delete(report_key("a/public"))
        await say(store, "b/public", 500.0, FLOOR, 0)
        await granted(store, {"b/public": 1.0})


async def test_what_another_leader_wrote_is_taken_and_not_overwritten(store: Store) -> None:
    async with dividing(store):
        await say(store, "a/public", 500.0, FLOOR, 0)
        await granted(store, {"a/public": 1.0})
        other = Grants(50, {"q": {"a/public": 0.4}}, {"q": {"a/public": 0.4}}, {"a/public": 1})
        await store.put(GRANTS, encode_grants(other))
        await say(store, "b/public", 500.0, FLOOR, 0)
        grants = await granted(store, {"a/public": 0.5, "b/public": FLOOR})
        assert grants.number > 50


async def test_what_is_no_report_is_none(store: Store) -> None:
    async with dividing(store):
        await store.put(report_key("odd"), b"nothing that anyone reads")
        await say(store, "a/public", 500.0, FLOOR, 0)
        await granted(store, {"a/public": 1.0})
