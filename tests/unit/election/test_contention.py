"""Many tasks, some of them impatient, at every kind of lock at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest

from moreton.election import Lock, ReadWriteLock, Semaphore, Term, holding, place
from moreton.kernel.rng import seeded_rng
from moreton.store import open_store

TTL = timedelta(hours=1)
PERMITS = 3
TASKS, ROUNDS = 20, 15


class Crowd:
    """Counts who is inside, and says at once when too many are."""

    def __init__(self, rng: random.Random, doors: dict[str, AbstractAsyncContextManager[Term]]):
        self.inside: Counter[str] = Counter()
        self.entered = self.gave_up = 0
        self._rng = rng
        self._doors = doors

    async def visit(self) -> None:
        for _ in range(ROUNDS):
            name = self._rng.choice(list(self._doors))
            patience = self._rng.choice([None, None, 0.02 * self._rng.random()])
            try:
                async with asyncio.timeout(patience), self._doors[name]:
                    await self._stay(name)
            except TimeoutError:
                self.gave_up += 1

    async def _stay(self, name: str) -> None:
        self.inside[name] += 1
        self.entered += 1
        assert self.inside["lock"] <= 1
        assert self.inside["seat"] <= PERMITS
        assert self.inside["write"] + bool(self.inside["read"]) <= 1
        try:
            await asyncio.sleep(0.001 * self._rng.random())
        finally:
            self.inside[name] -= 1


@pytest.mark.parametrize("seed", range(3))
async def test_never_too_many_are_in_and_nothing_is_left_behind(seed: int) -> None:
    store = open_store("memory:")
    stock = ReadWriteLock(store, "stock", ttl=TTL)
    doors: dict[str, AbstractAsyncContextManager[Term]] = {
        "lock": Lock(store, "till", ttl=TTL),
        "seat": Semaphore(store, "seats", permits=PERMITS, ttl=TTL),
        "read": stock.read,
        "write": stock.write,
    }
    crowd = Crowd(seeded_rng(seed), doors)
    await asyncio.gather(*(crowd.visit() for _ in range(TASKS)))
    await place.wait_left()
    assert crowd.entered > TASKS * ROUNDS / 4
    assert crowd.gave_up > 0
    numbers = store.statistics()
    assert (numbers.keys, numbers.leases, numbers.watches) == (0, 0, 0)
    assert not holding._CLAIMS
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await store.close()
