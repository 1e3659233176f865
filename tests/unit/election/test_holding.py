"""The end of what is held: who is cancelled, when, and what comes out of the body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from moreton.election import Election, LeadershipLost, Lock, LockLost, Term
from moreton.election.clock import LeaseClock
from moreton.kernel.time import Instant
from moreton.store import Store, open_store
from moreton.store.errors import StoreClosed
from support.contenders import SECONDS, holding, queued, standing

LONG = timedelta(hours=1)
SHORT = timedelta(milliseconds=100)
Body = Callable[[Term], Awaitable[object]]


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


def lose(term: Term) -> None:
    """As if the lease had ended at this moment."""
    term._place._on_lost("a test took it")


async def lead(store: Store, body: Body) -> object:
    async with Election(store, "jobs", ttl=LONG).campaign() as term:
        return await body(term)


async def assert_undisturbed() -> None:
    """No cancellation of ours is left over in this task."""
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_body_that_waits_is_cancelled_and_ends_by_the_loss(store: Store) -> None:
    async def body(term: Term) -> None:
        lose(term)
        await asyncio.Event().wait()

    with pytest.raises(LeadershipLost, match="a test took it") as lost:
        await lead(store, body)
    assert isinstance(lost.value.__cause__, asyncio.CancelledError)
    await assert_undisturbed()


async def test_body_that_ends_before_it_is_told_ends_by_the_loss_all_the_same(
    store: Store,
) -> None:
    async def body(term: Term) -> None:
        lose(term)

    with pytest.raises(LeadershipLost):
        await lead(store, body)
    await assert_undisturbed()


async def test_body_that_ignores_its_cancellation_ends_by_the_loss(store: Store) -> None:
    async def body(term: Term) -> None:
        lose(term)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    with pytest.raises(LeadershipLost):
        await lead(store, body)
    await assert_undisturbed()


async def test_error_of_the_body_comes_out_as_it_is(store: Store) -> None:
    async def body(term: Term) -> None:
        lose(term)
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        await lead(store, body)
    await assert_undisturbed()


async def test_loss_that_the_body_found_by_asking_comes_out_once(store: Store) -> None:
    async def body(term: Term) -> None:
        lose(term)
        term.check()

    with pytest.raises(LeadershipLost, match="a test took it"):
        await lead(store, body)
    await assert_undisturbed()


async def test_task_group_in_the_body_is_cancelled_as_a_whole(store: Store) -> None:
    ended: list[int] = []

    async def part(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def body(term: Term) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(part(number))
            await asyncio.sleep(0)
            lose(term)

    with pytest.raises(LeadershipLost):
        await lead(store, body)
    assert sorted(ended) == [0, 1, 2]
    await assert_undisturbed()


async def test_cancellation_from_outside_is_not_taken_for_the_loss(store: Store) -> None:
    began = asyncio.Event()

    async def body(term: Term) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            lose(term)

    task = asyncio.create_task(lead(store, body))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_from_outside_is_kept_while_ours_is_taken_back(store: Store) -> None:
    async def body(term: Term) -> None:
        task = asyncio.current_task()
        assert task is not None
        lose(term)
        asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.create_task(lead(store, body))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_time_limit_round_the_election_is_not_taken_for_the_loss(store: Store) -> None:
    async def body(_: Term) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lead(store, body), 0.01)
    assert await Election(store, "jobs").leader() is None


async def test_body_takes_no_step_after_a_stall_that_outlasted_the_lease(store: Store) -> None:
    steps: list[str] = []

    async def body(_: Term) -> None:
        # Due at the same moment as the end of the lease, when the loop comes to look.
        await asyncio.sleep(0.001)
        steps.append("acted")

    def stall() -> None:
        until = time.monotonic() + 2 * SHORT.total_seconds()
        while time.monotonic() < until:
            pass

    async def stalled() -> None:
        async with Election(store, "jobs", ttl=SHORT).campaign() as term:
            asyncio.get_running_loop().call_soon(stall)
            await body(term)

    with pytest.raises(LeadershipLost, match="this process was stopped"):
        await stalled()
    assert steps == []


class SleepingClock(LeaseClock):
    """The clock of a machine that can be sent to sleep: its loop's timers do not notice."""

    def __init__(self) -> None:
        self.slept = timedelta(0)

    def now(self) -> Instant:
        return super().now() + self.slept


async def test_machine_that_slept_is_told_when_it_asks_and_soon_after(store: Store) -> None:
    clock = SleepingClock()
    campaign = Election(store, "jobs", ttl=LONG, clock=clock).campaign()
    term = await campaign.__aenter__()
    term.check()
    clock.slept = LONG
    assert not term.is_held
    with pytest.raises(LeadershipLost):
        term.check()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await asyncio.wait_for(asyncio.Event().wait(), SECONDS)
    with pytest.raises(LeadershipLost, match="this process was stopped"):
        await campaign.__aexit__(asyncio.CancelledError, cancelled.value, None)


async def test_waiter_whose_place_was_lost_joins_again(store: Store) -> None:
    lock = Lock(store, "till", ttl=SHORT)
    queue = lock._bid.queue
    async with holding(lock):
        waiter = await standing(lock, queue)
        first = (await queue.entries())[1]
        await store.delete(first.key)
        await queued(queue, 1)
        await queued(queue, 2)
    term = await waiter.wait_in()
    assert term.token > first.token
    await waiter.let_go()


async def test_waiter_gets_in_when_the_history_it_waits_by_was_compacted(store: Store) -> None:
    lock = Lock(store, "till", ttl=LONG)
    async with holding(lock):
        waiter = await standing(lock, lock._bid.queue)
        for number in range(3):
            await store.put(b"other", b"%d" % number)
        await store.compact((await store.range(b"other")).revision)
    await waiter.wait_in()
    await waiter.let_go()


async def test_closing_the_store_ends_what_is_held_and_who_waits() -> None:
    store = open_store("memory:")
    lock = Lock(store, "till", ttl=SHORT)
    holder = await standing(lock, lock._bid.queue)
    waiter = await standing(lock, lock._bid.queue)
    term = await holder.wait_in()
    await store.close()
    await asyncio.wait_for(term.wait_lost(), SECONDS)
    for task in (holder.task, waiter.task):
        with pytest.raises((LockLost, StoreClosed)):
            await task


async def test_one_campaign_cannot_be_entered_twice(store: Store) -> None:
    campaign = Election(store, "jobs", ttl=LONG).campaign()
    async with campaign:
        pass
    with pytest.raises(RuntimeError, match="ask again each time"):
        await campaign.__aenter__()


async def test_lock_is_let_go_by_the_task_that_took_it_alone(store: Store) -> None:
    lock = Lock(store, "till", ttl=LONG)
    async with holding(lock):
        with pytest.raises(RuntimeError, match="enter and leave it in one task"):
            await lock.__aexit__(None, None, None)


async def test_next_in_line_is_the_only_one_who_asks_when_a_holder_leaves(store: Store) -> None:
    asked: list[bytes] = []
    lock = Lock(store, "till", ttl=LONG)
    prefix = lock._bid.queue.prefix
    reading = store.range

    async def counted(key: bytes, end: bytes | None = None, **others: int | None) -> object:
        if key == prefix:
            asked.append(key)
        return await reading(key, end, **others)

    async with holding(lock):
        waiters = [await standing(lock, lock._bid.queue) for _ in range(20)]
        store.range = counted  # type: ignore[method-assign, assignment]
    await waiters[0].wait_in()
    assert len(asked) == 1
    for waiter in waiters:
        await waiter.let_go()
    assert len(asked) == len(waiters)


def untyped(value: object) -> Any:
    """What a caller without a type checker might pass."""
    return value


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda _: Election(untyped("memory:"), "jobs"), TypeError, "make one with open_store"),
        (lambda store: Election(store, untyped(b"jobs")), TypeError, "is text, not b'jobs'"),
        (lambda store: Election(store, ""), ValueError, "has 0 bytes; write 1 to 256"),
        (lambda store: Election(store, "x" * 257), ValueError, "has 257 bytes"),
        (
            lambda store: Election(store, "jobs", ttl=untyped(10)),
            TypeError,
            r"write timedelta\(seconds=10\)",
        ),
        (lambda store: Election(store, "jobs", ttl=timedelta(0)), ValueError, "from 100ms to 1d"),
        (lambda store: Election(store, "jobs").campaign(untyped("me")), TypeError, "not bytes"),
        (lambda store: Election(store, "jobs").campaign(wait=untyped(5)), TypeError, "timedelta"),
    ],
)
async def test_what_cannot_be_is_refused_where_it_is_written(
    store: Store, wrong: Callable[[Store], object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        wrong(store)
