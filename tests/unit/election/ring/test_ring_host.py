"""Members in one process, over real TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from moreton.election.ring import (
    Address,
    Algorithm,
    Decision,
    RingMember,
    StoreClaims,
    Timings,
    Uid,
)
from moreton.election.ring.claims import Claims
from moreton.election.ring.links import Links
from moreton.store import open_store

pytestmark = pytest.mark.slow

FAST = Timings(
    heartbeat=timedelta(milliseconds=50),
    acknowledge=timedelta(milliseconds=200),
    election=timedelta(seconds=1),
)
UIDS = [Uid(number) for number in (3, 5, 1, 4, 2)]
DEADLINE_SECONDS = 20


@asynccontextmanager
async def ring(
    algorithm: Algorithm = Algorithm.LCR,
    claims: Claims | None = None,
    on_follow: Callable[[Decision], None] | None = None,
) -> AsyncIterator[tuple[list[RingMember], AsyncExitStack]]:
    async with AsyncExitStack() as stack, asyncio.timeout(DEADLINE_SECONDS):
        members = [
            await stack.enter_async_context(
                RingMember(
                    "jobs",
                    uid,
                    algorithm=algorithm,
                    timings=FAST,
                    claims=claims,
                    on_follow=on_follow,
                )
            )
            for uid in UIDS
        ]
        addresses = {member.uid: member.address for member in members}
        for member in members:
            member.join(addresses)
        yield members, stack


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_members_elect_the_largest_and_all_know_it(algorithm: Algorithm) -> None:
    followed: list[Decision] = []
    async with ring(algorithm, on_follow=followed.append) as (members, _):
        decisions = {await member.wait_decided() for member in members}
        assert decisions == {Decision(1, Uid(5))}
        assert [member.uid for member in members if member.is_leader] == [Uid(5)]
        assert followed == [Decision(1, Uid(5))] * len(members)


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_members_elect_another_when_the_leader_goes(algorithm: Algorithm) -> None:
    store = open_store("memory:")
    claims = StoreClaims(store, "jobs")
    async with ring(algorithm, claims) as (members, _):
        first = await members[0].wait_decided()
        for member in members:
            await member.wait_decided()
        leader = next(member for member in members if member.is_leader)
        await leader.__aexit__(None, None, None)
        rest = [member for member in members if member is not leader]
        later = {await member.wait_decided(after_epoch=first.epoch) for member in rest}
        assert len(later) == 1
        assert later == {await claims.holder()}
        assert (later.pop().token or 0) > (first.token or 0)
    await store.close()


async def test_store_that_fails_leaves_the_ring_undecided() -> None:
    store = open_store("memory:")
    asked = asyncio.Event()

    class Asked(StoreClaims):
        async def claim(self, uid: Uid, epoch: int) -> Decision:
            asked.set()
            return await super().claim(uid, epoch)

    await store.close()
    async with ring(claims=Asked(store, "jobs")) as (members, _):
        await asked.wait()
        asked.clear()
        await asked.wait()
        assert all(member.decision is None for member in members)
        assert not any(member.is_leader for member in members)


async def test_bytes_that_are_no_frames_are_counted_and_survived() -> None:
    arrived: asyncio.Queue[Uid] = asyncio.Queue()
    links = Links("jobs", Uid(1), lambda source, _: arrived.put_nowait(source))
    address = await links.listen(Address("127.0.0.1", 0))
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"x" * 10_000 + b"\n", b"{}"):
        _, writer = await asyncio.open_connection(*address)
        writer.write(junk)
        writer.close()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while links.malformed < 3:
            await asyncio.sleep(0)
    assert arrived.empty()
    await links.close()
