"""Leases: what hangs on them goes when they end."""

from __future__ import annotations

import asyncio

from moreton.sim.store.subject import StoreCheck, StoreUnderTest, next_batch, refused
from moreton.store import LeaseId
from moreton.store.errors import LeaseExists, LeaseNotFound

_STRAY = LeaseId(987_654_321)


async def granted_leases_differ(subject: StoreUnderTest) -> None:
    """The store chooses ids that are free and never 0."""
    leases = [await subject.store.grant(subject.ttl * 100) for _ in range(5)]
    assert len(set(leases)) == 5
    assert all(leases)
    for lease in leases:
        await subject.store.revoke(lease)


async def grant_makes_no_revision(subject: StoreUnderTest) -> None:
    """Leases without keys are not part of the history."""
    before = await subject.revision()
    lease = await subject.store.grant(subject.ttl * 100)
    await subject.store.keep_alive(lease)
    await subject.store.revoke(lease)
    assert await subject.revision() == before


async def chosen_lease_id_is_taken_once(subject: StoreUnderTest) -> None:
    """An id of one's own is granted once, and again after it was revoked."""
    mine = LeaseId(4711)
    assert await subject.store.grant(subject.ttl * 100, lease=mine) == mine
    await refused(subject.store.grant(subject.ttl * 100, lease=mine), LeaseExists)
    await subject.store.revoke(mine)
    assert await subject.store.grant(subject.ttl * 100, lease=mine) == mine
    await subject.store.revoke(mine)


async def unknown_lease_is_refused(subject: StoreUnderTest) -> None:
    """Nothing can be done with a lease that never was."""
    before = await subject.revision()
    await refused(subject.store.put(subject.key("a"), b"1", lease=_STRAY), LeaseNotFound)
    await refused(subject.store.keep_alive(_STRAY), LeaseNotFound)
    error = await refused(subject.store.revoke(_STRAY), LeaseNotFound)
    assert isinstance(error, LeaseNotFound)
    assert error.lease == _STRAY
    assert await subject.revision() == before


async def keep_alive_answers_with_the_ttl(subject: StoreUnderTest) -> None:
    """The time to live is at least what was asked for."""
    lease = await subject.store.grant(subject.ttl * 100)
    assert await subject.store.keep_alive(lease) >= subject.ttl * 100
    await subject.store.revoke(lease)


async def revoking_deletes_the_keys_at_one_revision(subject: StoreUnderTest) -> None:
    """All keys of the lease go together; others stay."""
    lease = await subject.store.grant(subject.ttl * 100)
    for name in "cab":
        await subject.store.put(subject.key(name), b"1", lease=lease)
    before = await subject.store.put(subject.key("d"), b"1")
    async with subject.store.watch(subject.prefix, subject.end) as watch:
        await subject.store.revoke(lease)
        batch = await next_batch(watch)
    assert batch.revision == before + 1
    assert {event.kind for event in batch.events} == {"delete"}
    assert {event.kv.key for event in batch.events} == {subject.key(name) for name in "abc"}
    assert await subject.contents() == {subject.key("d"): b"1"}
    await refused(subject.store.keep_alive(lease), LeaseNotFound)


async def keys_show_their_lease(subject: StoreUnderTest) -> None:
    """A key tells the lease of its last put."""
    lease = await subject.store.grant(subject.ttl * 100)
    await subject.store.put(subject.key("a"), b"1", lease=lease)
    (kv,) = (await subject.store.range(subject.key("a"))).kvs
    assert kv.lease == lease
    await subject.store.revoke(lease)


async def put_without_lease_detaches(subject: StoreUnderTest) -> None:
    """A key hangs on the lease of its last put, or on none."""
    first = await subject.store.grant(subject.ttl * 100)
    second = await subject.store.grant(subject.ttl * 100)
    for name in "abc":
        await subject.store.put(subject.key(name), b"1", lease=first)
    await subject.store.put(subject.key("b"), b"2")
    await subject.store.put(subject.key("c"), b"2", lease=second)
    await subject.store.revoke(first)
    assert await subject.contents() == {subject.key("b"): b"2", subject.key("c"): b"2"}
    await subject.store.revoke(second)
    assert await subject.contents() == {subject.key("b"): b"2"}


async def deleted_key_is_forgotten_by_its_lease(subject: StoreUnderTest) -> None:
    """A key made again after a delete does not hang on the old lease."""
    lease = await subject.store.grant(subject.ttl * 100)
    await subject.store.put(subject.key("a"), b"1", lease=lease)
    await subject.store.delete(subject.key("a"))
    await subject.store.put(subject.key("a"), b"2")
    await subject.store.revoke(lease)
    assert await subject.contents() == {subject.key("a"): b"2"}


async def expired_lease_deletes_its_keys_at_one_revision(subject: StoreUnderTest) -> None:
    """A lease that is not renewed ends, not before its time, and takes its keys along."""
    loop = asyncio.get_running_loop()
    granted_at = loop.time()
    lease = await subject.store.grant(subject.ttl)
    async with subject.store.watch(subject.prefix, subject.end) as watch:
        for name in "ab":
            last = await subject.store.put(subject.key(name), b"1", lease=lease)
            await next_batch(watch)
        batch = await next_batch(watch)
    assert loop.time() - granted_at >= subject.ttl.total_seconds()
    assert batch.revision == last + 1
    assert {event.kv.key for event in batch.events} == {subject.key("a"), subject.key("b")}
    assert {event.kind for event in batch.events} == {"delete"}
    await refused(subject.store.keep_alive(lease), LeaseNotFound)
    await refused(subject.store.put(subject.key("a"), b"2", lease=lease), LeaseNotFound)


async def renewed_lease_outlives_its_ttl(subject: StoreUnderTest) -> None:
    """Kept alive in time, a lease does not end; no longer kept alive, it does."""
    loop = asyncio.get_running_loop()
    ttl = subject.ttl.total_seconds()
    lease = await subject.store.grant(subject.ttl)
    await subject.store.put(subject.key("a"), b"1", lease=lease)
    begin = renewed = loop.time()
    while loop.time() < begin + 2.5 * ttl:
        await asyncio.sleep(ttl / 10)
        if loop.time() - renewed > ttl / 2:
            # This machine was too busy to renew in time: begin again.
            begin = loop.time()
            lease = await subject.store.grant(subject.ttl)
            await subject.store.put(subject.key("a"), b"1", lease=lease)
        await subject.store.keep_alive(lease)
        renewed = loop.time()
    (kv,) = (await subject.store.range(subject.key("a"))).kvs
    async with subject.store.watch(subject.key("a"), from_revision=kv.mod_revision + 1) as watch:
        assert (await next_batch(watch)).events[0].kind == "delete"


CHECKS: tuple[StoreCheck, ...] = (
    granted_leases_differ,
    grant_makes_no_revision,
    chosen_lease_id_is_taken_once,
    unknown_lease_is_refused,
    keep_alive_answers_with_the_ttl,
    revoking_deletes_the_keys_at_one_revision,
    keys_show_their_lease,
    put_without_lease_detaches,
    deleted_key_is_forgotten_by_its_lease,
    expired_lease_deletes_its_keys_at_one_revision,
    renewed_lease_outlives_its_ttl,
)
