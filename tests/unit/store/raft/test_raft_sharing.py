from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from moreton.store.errors import StoreClosed
from moreton.store.raft.sharing import Room, Shared


class Oracle:
    """Answers a batch when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.go = asyncio.Event()

    async def answer(self, items: Sequence[int]) -> Sequence[int]:
        self.asked.append(list(items))
        await self.go.wait()
        return [item * 10 for item in items]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_comes_while_one_is_asked_shares_the_next_question() -> None:
    oracle = Oracle()
    shared = Shared(oracle.answer, items_max=100)
    first = asyncio.create_task(shared.get(1))
    await turns()
    others = [asyncio.create_task(shared.get(number)) for number in (2, 3, 4)]
    await turns()
    assert oracle.asked == [[1]]
    oracle.go.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30, 40]
    assert oracle.asked == [[1], [2, 3, 4]]


async def test_question_has_a_bound() -> None:
    oracle = Oracle()
    oracle.go.set()
    shared = Shared(oracle.answer, items_max=2)
    assert await asyncio.gather(*(shared.get(number) for number in range(5))) == [0, 10, 20, 30, 40]
    assert max(map(len, oracle.asked)) == 2


async def test_failure_is_raised_to_all_of_the_question_and_the_next_goes_on() -> None:
    fails = True

    async def answer(items: Sequence[int]) -> Sequence[int]:
        if fails:
            raise OSError("no")
        return items

    shared = Shared(answer, items_max=100)
    found = await asyncio.gather(shared.get(1), shared.get(2), return_exceptions=True)
    assert [type(one) for one in found] == [OSError, OSError]
    fails = False
    assert await shared.get(3) == 3


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_another_number_of_answers_is_a_failure_of_all_of_the_question(count: int) -> None:
    asked: list[list[int]] = []

    async def answer(items: Sequence[int]) -> Sequence[int]:
        asked.append(list(items))
        return range(count) if len(items) == 2 else items

    shared = Shared(answer, items_max=2)
    waiting = [shared.get(1), shared.get(2), shared.get(3)]
    async with asyncio.timeout(5):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [RuntimeError, RuntimeError, int]
    assert f"{count} answers to 2 questions" in str(found[0])
    assert asked == [[1, 2], [3]]


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    oracle = Oracle()
    shared = Shared(oracle.answer, items_max=100)
    impatient = asyncio.create_task(shared.get(1))
    patient = asyncio.create_task(shared.get(2))
    await turns()
    impatient.cancel()
    oracle.go.set()
    assert await patient == 20


async def test_closing_raises_to_everyone_who_waits_and_who_comes() -> None:
    oracle = Oracle()
    shared = Shared(oracle.answer, items_max=1)
    waiting = [asyncio.create_task(shared.get(number)) for number in (1, 2)]
    await turns()
    await shared.close(StoreClosed())
    for task in waiting:
        with pytest.raises(StoreClosed):
            await task
    with pytest.raises(StoreClosed):
        await shared.get(3)


async def test_room_lets_the_next_in_when_one_leaves() -> None:
    room = Room(count_max=2, bytes_max=100)
    await room.take(1)
    await room.take(1)
    third = asyncio.create_task(room.take(1))
    await turns()
    assert not third.done()
    room.give(1)
    await third
    assert room.taken == 2


async def test_room_is_bounded_by_bytes_and_still_takes_one_that_is_larger() -> None:
    room = Room(count_max=10, bytes_max=100)
    await room.take(5000)
    second = asyncio.create_task(room.take(1))
    await turns()
    assert not second.done()
    room.give(5000)
    await second
    empty = asyncio.create_task(room.wait_empty())
    await turns()
    assert not empty.done()
    room.give(1)
    await empty
