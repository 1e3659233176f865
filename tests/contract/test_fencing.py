"""A counter under a lock whose holders hang: right with the token, and only with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from moreton.election import Fence, FencedOff, Lock, LockLost, Term
from moreton.election.clock import LeaseClock
from moreton.sim.linearizability import CasRegister, Recorder, Verdict, check_history
from moreton.store import Put, Store
from support.contenders import SECONDS, hang
from support.stores import OpenStore

TTL = timedelta(seconds=1)
COUNTER = b"counter"
WORKERS = 4
ROUNDS = 3


class Counter:
    """Workers that add one under the lock; the first term of each worker hangs before its write."""

    def __init__(self, opening: OpenStore, *, fenced: bool) -> None:
        self._opening = opening
        self._fenced = fenced
        self._clock = LeaseClock()
        self.recorder = Recorder()
        self.refused = 0

    async def judge(self) -> Verdict:
        async with asyncio.timeout(2 * SECONDS):
            await asyncio.gather(*(self._work(name) for name in range(WORKERS)))
        return check_history(self.recorder.calls(), CasRegister())

    async def _work(self, name: int) -> None:
        store = self._opening()
        for number in range(ROUNDS):
            try:
                async with Lock(store, "counter", ttl=TTL) as held:
                    await self._add_one(store, held, name, hangs=number == 0 and name > 0)
            except LockLost:
                continue

    async def _add_one(self, store: Store, held: Term, name: int, *, hangs: bool) -> None:
        found = (await store.range(COUNTER)).kvs
        before = int(found[0].value) if found else None
        after = 1 if before is None else before + 1
        if hangs:
            hang(held)
            while (await store.range(COUNTER)).kvs == found:
                await asyncio.sleep(0.01)
        self.recorder.invoke(name, "cas", "counter", [before, after], self._clock.now())
        try:
            await self._write(store, held, after)
        except FencedOff:
            self.refused += 1
            self.recorder.fail(name, self._clock.now())
        else:
            self.recorder.ok(name, None, self._clock.now())

    async def _write(self, store: Store, held: Term, value: int) -> None:
        if self._fenced:
            await held.write([Put(COUNTER, b"%d" % value)])
        else:
            await store.put(COUNTER, b"%d" % value)


@pytest.mark.long
async def test_counter_is_linearizable_when_writes_are_fenced(opening: OpenStore) -> None:
    counter = Counter(opening, fenced=True)
    verdict = await counter.judge()
    assert verdict.is_linearizable, str(verdict)
    assert counter.refused == WORKERS - 1


@pytest.mark.long
async def test_counter_is_not_when_a_lock_is_all_there_is(opening: OpenStore) -> None:
    counter = Counter(opening, fenced=False)
    assert not (await counter.judge()).is_linearizable


def test_fence_lets_newer_tokens_through_and_no_older_ones() -> None:
    fence = Fence("printer", token=7)
    for token in (7, 9, 9, 12):
        fence.admit(token)
    with pytest.raises(FencedOff, match='token 11 of "printer" is out of date') as found:
        fence.admit(11)
    assert (found.value.token, found.value.current) == (11, 12)
    assert fence.token == 12
