"""What elections promise, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from moreton.election import Election, FencedOff, Holder, LeadershipLost, StillHeld, Term
from moreton.election.errors import AlreadyHeld
from moreton.store import Compare, Put
from support.contenders import SECONDS, hang, holding, queued
from support.stores import OpenStore

# Long enough to be kept on a busy machine, short enough to wait for its end.
TTL = timedelta(seconds=1.5)
LONG = timedelta(hours=1)


async def test_candidates_lead_in_the_order_of_their_arrival(opening: OpenStore) -> None:
    order: list[bytes] = []
    tokens: list[int] = []

    async def candidate(name: bytes) -> None:
        async with Election(opening(), "jobs", ttl=LONG).campaign(name) as term:
            order.append(name)
            tokens.append(term.token)

    election = Election(opening(), "jobs", ttl=LONG)
    async with holding(election.campaign(b"first")):
        tasks = []
        for count, name in enumerate((b"a", b"b", b"c"), 2):
            tasks.append(asyncio.create_task(candidate(name)))
            await queued(election._queue, count)
        assert not order
    await asyncio.gather(*tasks)
    assert order == [b"a", b"b", b"c"]
    assert tokens == sorted(set(tokens))


async def test_token_is_the_revision_that_created_the_key(opening: OpenStore) -> None:
    store = opening()
    async with Election(store, "jobs", ttl=LONG).campaign() as term:
        found = (await store.range(term.key)).kvs[0]
        assert term.token == found.create_revision
        assert term.is_held
        term.check()


async def test_leader_that_hangs_is_replaced_and_cannot_write(opening: OpenStore) -> None:
    one, two = (Election(opening(), "jobs", ttl=TTL) for _ in range(2))
    async with holding(one.campaign(b"hangs")) as old:
        hang(old)
        async with asyncio.timeout(SECONDS), two.campaign(b"next") as new:
            assert not old.is_held
            with pytest.raises(LeadershipLost):
                old.check()
            with pytest.raises(FencedOff, match=f"the token is {new.token} by now") as refused:
                await old.write([Put(b"work", b"late")])
            assert (refused.value.token, refused.value.current) == (old.token, new.token)
            await new.write([Put(b"work", b"mine")])
    found = await opening().range(b"work")
    assert found.kvs[0].value == b"mine"


async def lead_for_ever(election: Election, begun: Callable[[Term], Awaitable[object]]) -> None:
    async with asyncio.timeout(SECONDS), election.campaign() as term:
        await begun(term)
        await asyncio.Event().wait()


async def test_body_is_cancelled_when_its_entry_is_deleted(opening: OpenStore) -> None:
    store = opening()
    with pytest.raises(LeadershipLost, match="its entry was deleted"):
        await lead_for_ever(Election(store, "jobs", ttl=TTL), lambda term: store.delete(term.key))


async def test_body_is_cancelled_when_its_lease_is_revoked(opening: OpenStore) -> None:
    store = opening()
    with pytest.raises(LeadershipLost, match="its lease has ended"):
        await lead_for_ever(
            Election(store, "jobs", ttl=TTL), lambda term: store.revoke(term._place.lease)
        )
    assert not await Election(store, "jobs").leader()


async def test_resigning_hands_over_at_once_and_the_body_goes_on(opening: OpenStore) -> None:
    election = Election(opening(), "jobs", ttl=LONG)
    async with holding(election.campaign(b"old")) as old, asyncio.timeout(SECONDS):
        await old.resign()
        assert not old.is_held
        await old.wait_lost()
        async with election.campaign(b"new") as new:
            assert new.token > old.token
        with pytest.raises(FencedOff, match="nobody holds it"):
            await old.write([Put(b"work", b"late")])


async def test_leader_that_ends_hands_over_at_once(opening: OpenStore) -> None:
    one, two = (Election(opening(), "jobs", ttl=LONG) for _ in range(2))
    async with asyncio.timeout(SECONDS):
        async with holding(one.campaign(b"old")):
            next_one = asyncio.create_task(_lead_once(two, b"new"))
            await queued(one._queue, 2)
        await next_one


async def test_candidate_that_is_cancelled_leaves_the_queue(opening: OpenStore) -> None:
    election = Election(opening(), "jobs", ttl=LONG)

    async def candidate() -> None:
        async with election.campaign(b"impatient"):
            raise AssertionError("it never led")

    async with holding(election.campaign(b"leader")):
        task = asyncio.create_task(candidate())
        await queued(election._queue, 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await election._queue.entries()) == 1
    assert await election.leader() is None


async def test_candidate_passes_over_those_that_left_before_it(opening: OpenStore) -> None:
    election = Election(opening(), "jobs", ttl=LONG)

    async def candidate() -> int:
        async with election.campaign() as term:
            return term.token

    async with holding(election.campaign(b"leader")):
        tasks = []
        for count in (2, 3, 4):
            tasks.append(asyncio.create_task(candidate()))
            await queued(election._queue, count)
        tasks[1].cancel()
        await queued(election._queue, 3)
    async with asyncio.timeout(SECONDS):
        assert await tasks[0] < await tasks[2]


async def test_campaign_that_may_not_wait_says_who_leads(opening: OpenStore) -> None:
    election = Election(opening(), "jobs", ttl=LONG)
    async with holding(election.campaign(b"node-7")) as term:
        with pytest.raises(StillHeld, match=rf'held by "node-7" \(token {term.token}\): ') as found:
            async with election.campaign(wait=timedelta(0)):
                pass
        assert (found.value.holder, found.value.token) == (b"node-7", term.token)
        with pytest.raises(StillHeld, match="after 50ms"):
            async with election.campaign(wait=timedelta(milliseconds=50)):
                pass
        assert len(await election._queue.entries()) == 1


async def test_campaign_within_the_leaders_own_task_is_refused(opening: OpenStore) -> None:
    store = opening()
    async with Election(store, "jobs", ttl=LONG).campaign():
        with pytest.raises(AlreadyHeld):
            async with Election(store, "jobs", ttl=LONG).campaign():
                pass
        async with Election(store, "other", ttl=LONG).campaign():
            pass
    async with Election(store, "jobs", ttl=LONG).campaign():
        pass


async def test_observer_sees_every_leader_and_the_gaps_between(opening: OpenStore) -> None:
    election = Election(opening(), "jobs", ttl=LONG)
    seen = aiter(election.observe())
    async with asyncio.timeout(SECONDS):
        assert await anext(seen) is None
        async with election.campaign(b"one") as first:
            assert await anext(seen) == Holder(first.token, b"one") == await election.leader()
            await first.proclaim(b"moved")
            assert await anext(seen) == Holder(first.token, b"moved")
        assert await anext(seen) is None
        async with holding(election.campaign(b"two")) as second:
            assert await anext(seen) == Holder(second.token, b"two")
            async with asyncio.TaskGroup() as group:
                group.create_task(_lead_once(election, b"three"))
                await queued(election._queue, 2)
                await second.resign()
                told = await anext(seen)
                assert told is not None
                assert told.value == b"three"
        assert await anext(seen) is None


async def _lead_once(election: Election, value: bytes) -> None:
    async with election.campaign(value):
        pass


async def test_write_tells_a_lost_term_from_a_comparison_that_fails(opening: OpenStore) -> None:
    store = opening()
    absent = [Compare.version(b"work", "=", 0)]
    async with Election(store, "jobs", ttl=LONG).campaign() as term:
        assert (await term.write([Put(b"work", b"1")], compare=absent)).succeeded
        assert not (await term.write([Put(b"work", b"2")], compare=absent)).succeeded
        done = await store.txn([term.guard], [Put(b"work", b"3")])
        assert done.succeeded
    assert not (await store.txn([term.guard], [Put(b"work", b"4")])).succeeded
    assert (await store.range(b"work")).kvs[0].value == b"3"


async def test_leader_outlives_its_ttl_and_its_signs_of_life_write_nothing(
    opening: OpenStore,
) -> None:
    store = opening()
    async with Election(store, "jobs", ttl=TTL).campaign() as term:
        before = (await store.range(b"any")).revision
        began = term._place._tenure.held_until
        while term._place._tenure.held_until - began < 2 * TTL:
            await asyncio.sleep(0.01)
        assert term.is_held
        assert (await store.range(b"any")).revision == before


async def test_duty_runs_again_with_the_next_term_when_leadership_is_lost(
    opening: OpenStore,
) -> None:
    store = opening()
    tokens: list[int] = []

    async def duty(term: Term) -> str:
        tokens.append(term.token)
        if len(tokens) == 1:
            await store.delete(term.key)
            await asyncio.Event().wait()
        if len(tokens) == 2:
            await store.delete(term.key)
            await term.write([Put(b"work", b"late")])
        return "done"

    async with asyncio.timeout(SECONDS):
        assert await Election(store, "jobs", ttl=TTL).lead(duty) == "done"
    assert len(tokens) == 3
    assert tokens == sorted(set(tokens))


async def test_names_that_begin_alike_do_not_meet(opening: OpenStore) -> None:
    store = opening()
    for name in ("a", "a/b", "ä b/%", "a/b/"):
        async with holding(Election(store, name, ttl=LONG).campaign(name.encode())):
            others = [each for each in ("a", "a/b", "ä b/%", "a/b/") if each != name]
            assert [await Election(store, each).leader() for each in others] == [None] * 3
