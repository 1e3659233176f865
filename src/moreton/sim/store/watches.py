"""Watches: every change once, in order, whole revisions."""

from __future__ import annotations

import asyncio

from moreton.sim.store.subject import StoreCheck, StoreUnderTest, changes, next_batch
from moreton.store import Delete, Put
from moreton.store.core.keys import NO_END


async def watch_sees_what_comes(subject: StoreUnderTest) -> None:
    """Without a revision a watch begins with the next change."""
    a = subject.key("a")
    await subject.store.put(a, b"before")
    async with subject.store.watch(a) as watch:
        put = await subject.store.put(a, b"1")
        await subject.store.delete(a)
        first, second = await next_batch(watch), await next_batch(watch)
    assert (first.revision, changes(first)) == (put, [("put", a, b"1")])
    assert (second.revision, changes(second)) == (put + 1, [("delete", a, b"")])


async def watch_event_tells_the_key_now_and_before(subject: StoreUnderTest) -> None:
    """A put carries the whole key; a delete the key and revision; both what was there."""
    a = subject.key("a")
    async with subject.store.watch(a) as watch:
        first = await subject.store.put(a, b"1")
        second = await subject.store.put(a, b"2")
        await subject.store.delete(a)
        created, changed, deleted = [(await next_batch(watch)).events[0] for _ in range(3)]
    assert created.prev is None
    assert changed.prev == created.kv
    assert (changed.kv.create_revision, changed.kv.mod_revision) == (first, second)
    assert changed.kv.version == 2
    assert deleted.prev == changed.kv
    assert (deleted.kv.key, deleted.kv.value) == (a, b"")
    assert deleted.kv.mod_revision == second + 1


async def watch_replays_the_past(subject: StoreUnderTest) -> None:
    """From a past revision all changes come since, then live ones, without a gap."""
    a, b = subject.key("a"), subject.key("b")
    await subject.store.put(a, b"0")
    start = await subject.store.put(a, b"1")
    await subject.store.put(b, b"2")
    async with subject.store.watch(subject.prefix, subject.end, from_revision=start) as watch:
        past = [await next_batch(watch) for _ in range(2)]
        await subject.store.delete(a)
        live = await next_batch(watch)
    assert [batch.revision for batch in (*past, live)] == [start, start + 1, start + 2]
    assert changes(past[0]) == [("put", a, b"1")]
    assert changes(past[1]) == [("put", b, b"2")]
    assert changes(live) == [("delete", a, b"")]
    assert live.events[0].prev is not None
    assert live.events[0].prev.value == b"1"


async def watch_from_the_future_waits_for_it(subject: StoreUnderTest) -> None:
    """Changes before the revision asked for are not shown."""
    a = subject.key("a")
    now = await subject.revision()
    async with subject.store.watch(a, from_revision=now + 3) as watch:
        reading = asyncio.create_task(next_batch(watch))
        for value in (b"1", b"2", b"3"):
            await asyncio.sleep(0)
            await subject.store.put(a, value)
        batch = await reading
    assert (batch.revision, changes(batch)) == (now + 3, [("put", a, b"3")])


async def watch_of_a_key_sees_nothing_else(subject: StoreUnderTest) -> None:
    """Neither longer keys nor neighbours."""
    a = subject.key("a")
    async with subject.store.watch(a) as watch:
        for key in (a + b"a", a + b"\0", subject.key("b"), a):
            await subject.store.put(key, b"1")
        assert changes(await next_batch(watch)) == [("put", a, b"1")]


async def watch_of_a_range_ends_before_its_end(subject: StoreUnderTest) -> None:
    """`[key, end)`, as in reading."""
    b, c, d = subject.key("b"), subject.key("c"), subject.key("d")
    async with subject.store.watch(b, d) as watch:
        for key in (d, subject.key("a"), c, b):
            await subject.store.put(key, b"1")
        assert changes(await next_batch(watch)) == [("put", c, b"1")]
        assert changes(await next_batch(watch)) == [("put", b, b"1")]


async def watch_without_upper_bound_sees_all_after_a_key(subject: StoreUnderTest) -> None:
    """The end of one zero byte means no end."""
    b = subject.key("b")
    async with subject.store.watch(b, NO_END) as watch:
        await subject.store.put(subject.key("a"), b"1")
        await subject.store.put(subject.key("c"), b"1")
        assert changes(await next_batch(watch)) == [("put", subject.key("c"), b"1")]


async def watch_never_splits_a_revision(subject: StoreUnderTest) -> None:
    """What one transaction changed comes as one batch, as far as it is in the range."""
    a, b, c = subject.key("a"), subject.key("b"), subject.key("c")
    await subject.store.put(b, b"0")
    async with (
        subject.store.watch(subject.prefix, subject.end) as whole,
        subject.store.watch(a, c) as part,
    ):
        await subject.store.txn(then=[Put(a, b"1"), Delete(b), Put(c, b"1")])
        everything = changes(await next_batch(whole))
        assert sorted(everything) == [("delete", b, b""), ("put", a, b"1"), ("put", c, b"1")]
        assert sorted(changes(await next_batch(part))) == [("delete", b, b""), ("put", a, b"1")]


async def failed_branch_is_not_seen(subject: StoreUnderTest) -> None:
    """A transaction without a change is no change."""
    a = subject.key("a")
    async with subject.store.watch(subject.prefix, subject.end) as watch:
        await subject.store.txn(then=[Delete(a)], otherwise=[Put(a, b"no")])
        await subject.store.put(a, b"yes")
        assert changes(await next_batch(watch)) == [("put", a, b"yes")]


async def watches_agree_on_concurrent_writes(subject: StoreUnderTest) -> None:
    """Every watch sees every write of many writers once, in order of revisions."""
    count = 60
    start = await subject.revision() + 1

    async def read() -> list[int]:
        async with subject.store.watch(subject.prefix, subject.end, from_revision=start) as watch:
            return [(await next_batch(watch)).revision for _ in range(count)]

    readers = [asyncio.create_task(read()) for _ in range(5)]
    writes = (subject.store.put(subject.key(f"{n % 7}"), b"%d" % n) for n in range(count))
    await asyncio.gather(*writes)
    for seen in await asyncio.gather(*readers):
        assert seen == list(range(start, start + count))


async def interrupted_read_loses_nothing(subject: StoreUnderTest) -> None:
    """Who stops waiting for a batch gets it the next time."""
    a = subject.key("a")
    async with subject.store.watch(a) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await subject.store.put(a, b"1")
        await subject.store.put(a, b"2")
        assert changes(await next_batch(watch)) == [("put", a, b"1")]
        assert changes(await next_batch(watch)) == [("put", a, b"2")]


async def slow_watch_still_sees_all_that_was_not_compacted(subject: StoreUnderTest) -> None:
    """A reader that does nothing for long misses nothing of the history that is there."""
    count = 500
    async with subject.store.watch(subject.prefix, subject.end) as watch:
        for number in range(count):
            await subject.store.put(subject.key("a"), b"%d" % number)
        seen = [changes(await next_batch(watch))[0][2] for _ in range(count)]
    assert seen == [b"%d" % number for number in range(count)]


CHECKS: tuple[StoreCheck, ...] = (
    watch_sees_what_comes,
    watch_event_tells_the_key_now_and_before,
    watch_replays_the_past,
    watch_from_the_future_waits_for_it,
    watch_of_a_key_sees_nothing_else,
    watch_of_a_range_ends_before_its_end,
    watch_without_upper_bound_sees_all_after_a_key,
    watch_never_splits_a_revision,
    failed_branch_is_not_seen,
    watches_agree_on_concurrent_writes,
    interrupted_read_loses_nothing,
    slow_watch_still_sees_all_that_was_not_compacted,
)
