"""What locks, semaphores and read-write locks promise, on every store."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from moreton.election import (
    FencedOff,
    Lock,
    LockLost,
    ReadWriteLock,
    Semaphore,
    StillHeld,
)
from moreton.election.errors import AlreadyHeld
from moreton.store import Put
from support.contenders import SECONDS, hang, holding, queued, standing
from support.stores import OpenStore

# Long enough to be kept on a busy machine, short enough to wait for its end.
TTL = timedelta(seconds=1.5)
LONG = timedelta(hours=1)
NOT_AT_ALL = timedelta(0)


async def test_lock_lets_one_in_at_a_time(opening: OpenStore) -> None:
    inside = most = 0

    async def work() -> int:
        nonlocal inside, most
        async with Lock(opening(), "till", ttl=LONG) as held:
            inside += 1
            most = max(most, inside)
            await held.write([Put(b"till", b"%d" % held.token)])
            inside -= 1
        return held.token

    async with asyncio.timeout(SECONDS):
        tokens = await asyncio.gather(*(work() for _ in range(8)))
    assert most == 1
    assert len(set(tokens)) == 8
    assert (await opening().range(b"till")).kvs[0].value == b"%d" % max(tokens)


async def test_one_lock_object_serves_many_tasks(opening: OpenStore) -> None:
    lock = Lock(opening(), "till", ttl=LONG)
    inside: list[int] = []

    async def work() -> None:
        async with lock as held:
            inside.append(held.token)
            assert [holder.token for holder in await lock.holders()] == [held.token]

    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(work() for _ in range(4)))
    assert inside == sorted(inside)
    assert await lock.holders() == ()


async def test_holder_that_hangs_loses_the_lock_and_cannot_write(opening: OpenStore) -> None:
    async with holding(Lock(opening(), "till", ttl=TTL)) as old:
        hang(old)
        async with asyncio.timeout(SECONDS), Lock(opening(), "till", ttl=TTL) as new:
            assert not old.is_held
            with pytest.raises(FencedOff, match=rf'lock "till" .* the token is {new.token} by now'):
                await old.write([Put(b"till", b"late")])


async def test_body_is_cancelled_when_the_lock_is_lost(opening: OpenStore) -> None:
    store = opening()

    async def work() -> None:
        async with Lock(store, "till", ttl=TTL) as held:
            await store.delete(held.key)
            await asyncio.Event().wait()

    with pytest.raises(LockLost, match="its entry was deleted") as lost:
        await asyncio.wait_for(work(), SECONDS)
    assert lost.value.token > 0


async def test_lock_that_is_not_waited_for_names_its_holder(opening: OpenStore) -> None:
    free = Lock(opening(), "till", ttl=LONG, wait=NOT_AT_ALL)
    async with free:
        pass
    async with holding(Lock(opening(), "till", ttl=LONG, value=b"billing")):
        with pytest.raises(StillHeld, match='lock "till" is held by "billing"'):
            await free.__aenter__()
        assert len(await free.holders()) == 1


async def test_task_that_holds_a_lock_is_not_let_in_again(opening: OpenStore) -> None:
    store = opening()
    lock, rw = Lock(store, "till", ttl=LONG), ReadWriteLock(store, "till", ttl=LONG)
    async with lock:
        for again in (lock, Lock(store, "till", ttl=LONG)):
            with pytest.raises(AlreadyHeld, match=r'lock "till" .* by this very task'):
                await again.__aenter__()
    async with rw.read:
        with pytest.raises(AlreadyHeld):
            await rw.write.__aenter__()
    async with rw.write:
        with pytest.raises(AlreadyHeld):
            await rw.read.__aenter__()


async def test_semaphore_lets_as_many_in_as_it_has_permits(opening: OpenStore) -> None:
    inside = most = 0
    entered: list[int] = []

    async def work() -> None:
        nonlocal inside, most
        async with Semaphore(opening(), "seats", permits=3, ttl=LONG) as held:
            inside += 1
            most = max(most, inside)
            entered.append(held.token)
            while inside < 3 and len(entered) < 9:
                await asyncio.sleep(0.01)
            inside -= 1

    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(work() for _ in range(9)))
    assert most == 3
    assert len(set(entered)) == 9


async def test_semaphore_gives_a_permit_to_whoever_came_first(opening: OpenStore) -> None:
    seats = Semaphore(opening(), "seats", permits=2, ttl=LONG)
    queue = seats._bid.queue
    first, second, third, fourth = [await standing(seats, queue) for _ in range(4)]
    await first.wait_in()
    await second.wait_in()
    assert not third.is_in
    await second.let_go()
    await third.wait_in()
    assert not fourth.is_in
    third.task.cancel()
    await fourth.wait_in()
    await first.let_go()
    await fourth.let_go()


async def test_one_task_may_take_several_permits(opening: OpenStore) -> None:
    seats = Semaphore(opening(), "seats", permits=2, ttl=LONG)
    async with seats as one, seats as two:
        assert one.token != two.token
        assert len(await seats.holders()) == 2
    only = Semaphore(opening(), "chair", permits=1, ttl=LONG)
    async with only:
        with pytest.raises(AlreadyHeld):
            await only.__aenter__()


async def test_the_smallest_number_of_permits_counts_while_they_differ(opening: OpenStore) -> None:
    many = Semaphore(opening(), "seats", permits=5, ttl=LONG)
    few = Semaphore(opening(), "seats", permits=2, ttl=LONG, wait=NOT_AT_ALL)
    async with holding(many), holding(many), holding(many):
        with pytest.raises(StillHeld):
            await few.__aenter__()
    async with holding(few):
        second = await standing(many, many._bid.queue)
        await second.wait_in()
        third = await standing(many, many._bid.queue)
        assert not third.is_in
        await second.let_go()
        await third.wait_in()
        await third.let_go()


async def test_dead_holder_gives_its_permit_back_when_its_lease_ends(opening: OpenStore) -> None:
    async with holding(Semaphore(opening(), "seats", permits=1, ttl=TTL)) as old:
        hang(old)
        async with asyncio.timeout(SECONDS), Semaphore(opening(), "seats", permits=1, ttl=TTL):
            assert not old.is_held


async def test_readers_are_in_together_and_a_writer_alone(opening: OpenStore) -> None:
    lock = ReadWriteLock(opening(), "stock", ttl=LONG)
    queue = lock.write._bid.queue
    one, two = [await standing(lock.read, queue) for _ in range(2)]
    await one.wait_in()
    await two.wait_in()
    writer = await standing(lock.write, queue)
    await one.let_go()
    assert not writer.is_in
    await two.let_go()
    term = await writer.wait_in()
    assert [holder.token for holder in await lock.holders()] == [term.token]
    reader = await standing(lock.read, queue)
    assert not reader.is_in
    await writer.let_go()
    await reader.wait_in()
    await reader.let_go()


async def test_reader_behind_a_waiting_writer_waits_for_it(opening: OpenStore) -> None:
    lock = ReadWriteLock(opening(), "stock", ttl=LONG)
    queue = lock.write._bid.queue
    first = await standing(lock.read, queue)
    await first.wait_in()
    writer = await standing(lock.write, queue)
    late = [await standing(lock.read, queue) for _ in range(2)]
    impatient = ReadWriteLock(opening(), "stock", ttl=LONG, wait=NOT_AT_ALL)
    with pytest.raises(StillHeld):
        await impatient.read.__aenter__()
    assert not writer.is_in
    await first.let_go()
    await writer.wait_in()
    assert not any(reader.is_in for reader in late)
    await writer.let_go()
    for reader in late:
        await reader.wait_in()
        await reader.let_go()


async def test_waiting_writer_that_gives_up_lets_the_readers_behind_it_in(
    opening: OpenStore,
) -> None:
    lock = ReadWriteLock(opening(), "stock", ttl=LONG)
    queue = lock.write._bid.queue
    first, writer, second = [
        await standing(entering, queue) for entering in (lock.read, lock.write, lock.read)
    ]
    await first.wait_in()
    writer.task.cancel()
    await second.wait_in()
    await queued(queue, 2)
    await first.let_go()
    await second.let_go()


async def test_locks_semaphores_and_elections_of_one_name_do_not_meet(opening: OpenStore) -> None:
    store = opening()
    async with (
        Lock(store, "same", ttl=LONG) as one,
        Semaphore(store, "same", permits=1, ttl=LONG) as two,
        ReadWriteLock(store, "same", ttl=LONG).write as three,
    ):
        assert one.token < two.token < three.token
