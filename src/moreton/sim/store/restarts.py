"""What outlives a store's process."""

from __future__ import annotations

from moreton.sim.store.subject import (
    RestartCheck,
    RestartedStoreUnderTest,
    StoreUnderTest,
    changes,
    next_batch,
    refused,
)
from moreton.store import Put
from moreton.store.errors import Compacted, LeaseNotFound


async def restart_keeps_keys_and_revisions(subject: RestartedStoreUnderTest) -> None:
    """Contents, versions and the revision are as before."""
    old = StoreUnderTest(await subject.open(), subject.ttl)
    await old.store.put(old.key("a"), b"1")
    await old.store.put(old.key("a"), b"2")
    await old.store.put(old.key("b"), b"")
    await old.store.delete(old.key("b"))
    before = await old.everything()
    await old.store.close()
    new = StoreUnderTest(await subject.open(), subject.ttl)
    assert await new.everything() == before
    assert await new.store.put(new.key("b"), b"1") == before.revision + 1
    await new.store.close()


async def restart_keeps_history(subject: RestartedStoreUnderTest) -> None:
    """The past can be read and watched."""
    old = StoreUnderTest(await subject.open(), subject.ttl)
    a = old.key("a")
    first = await old.store.put(a, b"1")
    await old.store.put(a, b"2")
    await old.store.delete(a)
    await old.store.close()
    new = StoreUnderTest(await subject.open(), subject.ttl)
    assert await new.contents(revision=first) == {a: b"1"}
    assert await new.contents(revision=first + 1) == {a: b"2"}
    async with new.store.watch(a, from_revision=first + 1) as watch:
        put, delete = await next_batch(watch), await next_batch(watch)
    assert changes(put) == [("put", a, b"2")]
    assert changes(delete) == [("delete", a, b"")]
    assert delete.events[0].prev == put.events[0].kv
    await new.store.close()


async def restart_keeps_the_order_within_a_revision(subject: RestartedStoreUnderTest) -> None:
    """The changes of one transaction are watched in the order made."""
    old = StoreUnderTest(await subject.open(), subject.ttl)
    names = ["c", "a", "d", "b"]
    revision = (await old.store.txn(then=[Put(old.key(name), b"1") for name in names])).revision
    await old.store.close()
    new = StoreUnderTest(await subject.open(), subject.ttl)
    async with new.store.watch(new.prefix, new.end, from_revision=revision) as watch:
        batch = await next_batch(watch)
    assert [event.kv.key for event in batch.events] == [new.key(name) for name in names]
    await new.store.close()


async def restart_keeps_compaction(subject: RestartedStoreUnderTest) -> None:
    """What was compacted does not come back, and the revision does not go back."""
    old = StoreUnderTest(await subject.open(), subject.ttl)
    a, b = old.key("a"), old.key("b")
    first = await old.store.put(a, b"1")
    await old.store.put(a, b"2")
    await old.store.put(b, b"1")
    await old.store.delete(b)
    last = await old.revision()
    await old.store.compact(last)
    await old.store.close()
    new = StoreUnderTest(await subject.open(), subject.ttl)
    assert await new.contents() == {a: b"2"}
    assert await new.revision() == last
    await refused(new.store.range(a, revision=first), Compacted)
    assert await new.store.put(b, b"2") == last + 1
    await new.store.close()


async def restart_keeps_leases(subject: RestartedStoreUnderTest) -> None:
    """A lease and its keys survive; it can be kept alive and revoked."""
    old = StoreUnderTest(await subject.open(), subject.ttl)
    lease = await old.store.grant(subject.ttl * 100)
    gone = await old.store.grant(subject.ttl * 100)
    await old.store.put(old.key("a"), b"1", lease=lease)
    await old.store.revoke(gone)
    await old.store.close()
    new = StoreUnderTest(await subject.open(), subject.ttl)
    assert await new.store.keep_alive(lease) >= subject.ttl * 100
    await refused(new.store.keep_alive(gone), LeaseNotFound)
    await new.store.put(new.key("b"), b"1", lease=lease)
    await new.store.revoke(lease)
    assert await new.contents() == {}
    await new.store.close()


async def restart_gives_leases_their_time_anew(subject: RestartedStoreUnderTest) -> None:
    """A lease that nobody renews after a restart ends too."""
    old = StoreUnderTest(await subject.open(), subject.ttl)
    lease = await old.store.grant(subject.ttl)
    a = old.key("a")
    revision = await old.store.put(a, b"1", lease=lease)
    await old.store.close()
    new = StoreUnderTest(await subject.open(), subject.ttl)
    async with new.store.watch(a, from_revision=revision + 1) as watch:
        assert changes(await next_batch(watch)) == [("delete", a, b"")]
    await new.store.close()


CHECKS: tuple[RestartCheck, ...] = (
    restart_keeps_keys_and_revisions,
    restart_keeps_history,
    restart_keeps_the_order_within_a_revision,
    restart_keeps_compaction,
    restart_keeps_leases,
    restart_gives_leases_their_time_anew,
)
