"""Compaction: the past may be forgotten, the present not, and nobody is deceived about it."""

from __future__ import annotations

from contextlib import suppress

from moreton.sim.store.subject import (
    StoreCheck,
    StoreUnderTest,
    changes,
    next_batch,
    refused,
)
from moreton.store import Put, Range, WatchBatch
from moreton.store.errors import Compacted, FutureRevision


async def compaction_keeps_the_present(subject: StoreUnderTest) -> None:
    """What lies under the keys, with revisions and versions, stays; no revision is made."""
    a, b = subject.key("a"), subject.key("b")
    await subject.store.put(a, b"1")
    await subject.store.put(a, b"2")
    last = await subject.store.put(b, b"1")
    before = await subject.everything()
    await subject.store.compact(last)
    assert await subject.everything() == before
    await subject.store.put(a, b"3")
    (kv,) = (await subject.store.range(a)).kvs
    assert kv.version == 3


async def compacted_revision_is_refused(subject: StoreUnderTest) -> None:
    """Below the compact revision nothing can be read; at it and above all can."""
    a = subject.key("a")
    first = await subject.store.put(a, b"1")
    second = await subject.store.put(a, b"2")
    await subject.store.put(a, b"3")
    await subject.store.compact(second)
    error = await refused(subject.store.range(a, revision=first), Compacted)
    assert isinstance(error, Compacted)
    assert await subject.contents(revision=second) == {a: b"2"}
    assert await subject.contents() == {a: b"3"}
    past = Range(a, revision=first)
    await refused(subject.store.txn(then=[Put(a, b"no"), past]), Compacted)
    assert await subject.contents() == {a: b"3"}


async def compacting_again_is_refused(subject: StoreUnderTest) -> None:
    """A compaction goes forward, and not beyond the present."""
    first = await subject.store.put(subject.key("a"), b"1")
    last = await subject.store.put(subject.key("a"), b"2")
    await subject.store.compact(last)
    await refused(subject.store.compact(last), Compacted)
    await refused(subject.store.compact(first), Compacted)
    error = await refused(subject.store.compact(last + 1), FutureRevision)
    assert isinstance(error, FutureRevision)
    assert error.revision == last + 1


async def watch_from_a_compacted_revision_is_refused(subject: StoreUnderTest) -> None:
    """The error names the revision from which on watching is possible."""
    a = subject.key("a")
    first = await subject.store.put(a, b"1")
    await subject.store.put(a, b"2")
    last = await subject.store.put(a, b"3")
    await subject.store.compact(last)
    error = await refused(_first_batch(subject, first), Compacted)
    assert isinstance(error, Compacted)
    assert error.compact_revision == last
    batch = await _first_batch(subject, error.compact_revision)
    assert (batch.revision, changes(batch)) == (last, [("put", a, b"3")])


async def watch_from_the_compact_revision_sees_overwritten_values(
    subject: StoreUnderTest,
) -> None:
    """What was put at the compact revision is seen although it was overwritten since."""
    a = subject.key("a")
    await subject.store.put(a, b"1")
    second = await subject.store.put(a, b"2")
    await subject.store.put(a, b"3")
    await subject.store.compact(second)
    async with subject.store.watch(a, from_revision=second) as watch:
        assert changes(await next_batch(watch)) == [("put", a, b"2")]
        assert changes(await next_batch(watch)) == [("put", a, b"3")]


async def compaction_keeps_idle_watches(subject: StoreUnderTest) -> None:
    """A watch that has seen everything, or for which there was nothing, goes on."""
    a, b = subject.key("a"), subject.key("b")
    async with subject.store.watch(a) as watch:
        await subject.store.put(a, b"1")
        await next_batch(watch)
        for _ in range(5):
            last = await subject.store.put(b, b"1")
        async with subject.store.watch(a, from_revision=last + 1) as other:
            await subject.store.compact(last)
            await subject.store.put(a, b"2")
            assert changes(await next_batch(other)) == [("put", a, b"2")]


async def watch_overtaken_by_compaction_is_told(subject: StoreUnderTest) -> None:
    """A reader that was too slow gets every change or `Compacted`, never a gap."""
    a = subject.key("a")
    async with subject.store.watch(a) as watch:
        start = await subject.store.put(a, b"0")
        for number in range(1, 50):
            last = await subject.store.put(a, b"%d" % number)
        await subject.store.compact(last)
        seen: list[int] = []
        with suppress(Compacted):
            while not seen or seen[-1] < last:
                seen.append((await next_batch(watch)).revision)
    assert seen == list(range(start, start + len(seen)))


async def deleted_key_stays_deleted_after_compaction(subject: StoreUnderTest) -> None:
    """A compaction does not bring back what was deleted."""
    a, b = subject.key("a"), subject.key("b")
    await subject.store.put(a, b"1")
    await subject.store.put(b, b"1")
    await subject.store.delete(a)
    last = await subject.store.put(b, b"2")
    await subject.store.compact(last)
    assert await subject.contents() == {b: b"2"}
    assert await subject.contents(revision=last) == {b: b"2"}


async def _first_batch(subject: StoreUnderTest, revision: int) -> WatchBatch:
    async with subject.store.watch(subject.prefix, subject.end, from_revision=revision) as watch:
        return await next_batch(watch)


CHECKS: tuple[StoreCheck, ...] = (
    compaction_keeps_the_present,
    compacted_revision_is_refused,
    compacting_again_is_refused,
    watch_from_a_compacted_revision_is_refused,
    watch_from_the_compact_revision_sees_overwritten_values,
    compaction_keeps_idle_watches,
    watch_overtaken_by_compaction_is_told,
    deleted_key_stays_deleted_after_compaction,
)
