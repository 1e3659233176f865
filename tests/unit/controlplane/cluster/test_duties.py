"""Who leads the nodes, and what only the leader does, on a real store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from moreton.controlplane.assembly.troubles import Troubles
from moreton.controlplane.cluster.duties import Duty, Leadership, compaction
from moreton.election import FencedOff, Term
from moreton.store import Put, Store, open_store
from moreton.store.errors import StoreError

MARK = b"/mark"


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


@asynccontextmanager
async def leading(store: Store, name: str, *duties: Duty) -> AsyncIterator[Leadership]:
    made = Leadership(store, name=name, duties=duties, troubles=Troubles())
    tasks = [asyncio.create_task(made.run()), asyncio.create_task(made.observe())]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def token_of(leadership: Leadership) -> int:
    assert leadership.leader is not None
    return leadership.leader.token


async def test_one_leads_and_another_when_it_ends_with_a_larger_token(store: Store) -> None:
    async with leading(store, "b") as other:
        await until(lambda: other.is_leader)
        first = token_of(other)
        async with leading(store, "a") as one:
            await until(lambda: one.leader is not None)
            assert one.leader is not None
            assert one.leader.value == b"b"
            assert not one.is_leader
            async with leading(store, "c"):
                pass  # a candidate that leaves changes nothing
            assert token_of(one) == first
    async with leading(store, "c") as third:
        await until(lambda: third.is_leader)
        assert token_of(third) > first


async def test_duty_is_done_by_the_leader_alone_and_ends_with_it(store: Store) -> None:
    done: list[str] = []
    ended: list[str] = []

    def duty(name: str) -> Duty:
        async def work(_: Term) -> None:
            done.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        return work

    async with leading(store, "a", duty("a")) as one:
        await until(lambda: one.is_leader and done)
        async with leading(store, "b", duty("b")) as other:
            await until(lambda: other.leader)
            assert done == ["a"]
    assert done == ended == ["a"]


async def test_write_of_a_leader_that_another_has_replaced_is_refused(store: Store) -> None:
    terms: list[Term] = []

    async def note(term: Term) -> None:
        terms.append(term)
        await asyncio.Event().wait()

    async with leading(store, "a", note):
        await until(lambda: terms)
    async with leading(store, "b", note):
        await until(lambda: len(terms) == 2)
        with pytest.raises(FencedOff):
            await terms[0].write([Put(MARK, b"late")])
        await terms[1].write([Put(MARK, b"right")])
    assert (await store.range(MARK)).kvs[0].value == b"right"


async def test_duty_that_the_store_failed_is_begun_again_and_a_broken_one_rests(
    store: Store,
) -> None:
    calls: list[str] = []

    async def tried_again(_: Term) -> None:
        calls.append("tried")
        if calls.count("tried") < 3:
            raise StoreError("it is away")
        await asyncio.Event().wait()

    async def broken(_: Term) -> None:
        calls.append("broken")
        raise ZeroDivisionError

    async with leading(store, "a", tried_again, broken) as one:
        await until(lambda: calls.count("tried") == 3)
        assert one.is_leader
    assert calls.count("broken") == 1


async def test_history_is_forgotten_by_the_leader_up_to_what_was_long_ago(store: Store) -> None:
    for number in range(5):
        await store.put(MARK, str(number).encode())
    before = store.statistics()
    assert before.compact_revision < before.revision
    async with leading(store, "a", compaction(store, every=timedelta(milliseconds=20))):
        await until(lambda: store.statistics().compact_revision >= before.revision)
    found = store.statistics()
    assert found.compact_revision < found.revision, "what came within the time is kept"
