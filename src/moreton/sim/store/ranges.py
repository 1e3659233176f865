"""Puts, deletes and ranges, now and in the past."""

from __future__ import annotations

import asyncio

from moreton.sim.store.subject import StoreCheck, StoreUnderTest, refused
from moreton.store.core.keys import NO_END
from moreton.store.errors import FutureRevision, RequestTooLarge


async def put_makes_the_next_revision(subject: StoreUnderTest) -> None:
    """Revisions grow by one with each put, and an answer carries the newest."""
    before = await subject.revision()
    assert await subject.store.put(subject.key("a"), b"1") == before + 1
    assert await subject.store.put(subject.key("b"), b"1") == before + 2
    assert await subject.revision() == before + 2


async def new_key_has_version_one(subject: StoreUnderTest) -> None:
    """A key is created and changed by its first put."""
    revision = await subject.store.put(subject.key("a"), b"1")
    (kv,) = (await subject.store.range(subject.key("a"))).kvs
    assert (kv.key, kv.value) == (subject.key("a"), b"1")
    assert (kv.create_revision, kv.mod_revision, kv.version) == (revision, revision, 1)
    assert kv.lease is None


async def overwriting_keeps_the_create_revision(subject: StoreUnderTest) -> None:
    """A second put changes value, mod revision and version."""
    created = await subject.store.put(subject.key("a"), b"1")
    await subject.store.put(subject.key("b"), b"1")
    changed = await subject.store.put(subject.key("a"), b"2")
    (kv,) = (await subject.store.range(subject.key("a"))).kvs
    assert (kv.value, kv.create_revision, kv.mod_revision) == (b"2", created, changed)
    assert kv.version == 2


async def recreated_key_starts_over(subject: StoreUnderTest) -> None:
    """After a delete a key is a new one."""
    await subject.store.put(subject.key("a"), b"1")
    await subject.store.put(subject.key("a"), b"2")
    assert await subject.store.delete(subject.key("a")) == 1
    revision = await subject.store.put(subject.key("a"), b"3")
    (kv,) = (await subject.store.range(subject.key("a"))).kvs
    assert (kv.create_revision, kv.mod_revision, kv.version) == (revision, revision, 1)


async def missing_key_reads_as_nothing(subject: StoreUnderTest) -> None:
    """A key that does not exist is an empty range."""
    found = await subject.store.range(subject.key("a"))
    assert found.kvs == ()
    assert found.count == 0
    assert not found.more


async def deleting_nothing_makes_no_revision(subject: StoreUnderTest) -> None:
    """The revision stays when nothing changes."""
    before = await subject.store.put(subject.key("b"), b"1")
    assert await subject.store.delete(subject.key("a")) == 0
    assert await subject.revision() == before


async def deleting_a_range_makes_one_revision(subject: StoreUnderTest) -> None:
    """All keys of `[key, end)` go at once, the end stays."""
    for name in "abcd":
        last = await subject.store.put(subject.key(name), b"1")
    assert await subject.store.delete(subject.key("a"), subject.key("d")) == 3
    found = await subject.everything()
    assert [kv.key for kv in found.kvs] == [subject.key("d")]
    assert found.revision == last + 1


async def range_is_ordered_by_key(subject: StoreUnderTest) -> None:
    """Bytes decide the order, not the time of the put; the end is not part of the range."""
    for name in ("b", "a/z", "c", "a", "ab"):
        await subject.store.put(subject.key(name), b"1")
    found = await subject.store.range(subject.key("a"), subject.key("c"))
    assert [kv.key for kv in found.kvs] == [subject.key(name) for name in ("a", "a/z", "ab", "b")]


async def range_without_upper_bound_reads_all_after_a_key(subject: StoreUnderTest) -> None:
    """The end of one zero byte means no end."""
    for name in "abc":
        await subject.store.put(subject.key(name), b"1")
    found = await subject.store.range(subject.key("b"), NO_END)
    assert [kv.key for kv in found.kvs] == [subject.key("b"), subject.key("c")]


async def range_that_ends_before_it_begins_is_empty(subject: StoreUnderTest) -> None:
    """No key lies between a key and a smaller one, nor itself."""
    await subject.store.put(subject.key("a"), b"1")
    await subject.store.put(subject.key("b"), b"1")
    assert (await subject.store.range(subject.key("b"), subject.key("a"))).kvs == ()
    assert (await subject.store.range(subject.key("a"), subject.key("a"))).kvs == ()


async def limit_cuts_but_counts_all(subject: StoreUnderTest) -> None:
    """A limited range tells how much there is."""
    for name in "abc":
        await subject.store.put(subject.key(name), b"1")
    cut = await subject.store.range(subject.prefix, subject.end, limit=2)
    assert [kv.key for kv in cut.kvs] == [subject.key("a"), subject.key("b")]
    assert (cut.count, cut.more) == (3, True)
    whole = await subject.store.range(subject.prefix, subject.end, limit=3)
    assert (len(whole.kvs), whole.count, whole.more) == (3, 3, False)


async def past_revisions_stay_readable(subject: StoreUnderTest) -> None:
    """Each revision shows the keys as they were; the answer carries the newest revision."""
    a, b = subject.key("a"), subject.key("b")
    first = await subject.store.put(a, b"1")
    second = await subject.store.put(b, b"1")
    third = await subject.store.put(a, b"2")
    await subject.store.delete(subject.prefix, subject.end)
    assert await subject.contents(revision=first) == {a: b"1"}
    assert await subject.contents(revision=second) == {a: b"1", b: b"1"}
    assert await subject.contents(revision=third) == {a: b"2", b: b"1"}
    assert await subject.contents(revision=third + 1) == {}
    assert (await subject.everything(revision=first)).revision == third + 1


async def past_revision_with_a_limit_counts_the_past(subject: StoreUnderTest) -> None:
    """Limit and count are of the keys of that time."""
    for name in "abc":
        then = await subject.store.put(subject.key(name), b"1")
    await subject.store.delete(subject.key("a"))
    await subject.store.put(subject.key("d"), b"1")
    found = await subject.store.range(subject.prefix, subject.end, revision=then, limit=1)
    assert [kv.key for kv in found.kvs] == [subject.key("a")]
    assert (found.count, found.more) == (3, True)


async def future_revision_is_refused(subject: StoreUnderTest) -> None:
    """What has not happened cannot be read."""
    now = await subject.revision()
    error = await refused(
        subject.store.range(subject.prefix, subject.end, revision=now + 1), FutureRevision
    )
    assert isinstance(error, FutureRevision)
    assert error.revision == now + 1


async def keys_and_values_are_any_bytes(subject: StoreUnderTest) -> None:
    """Every byte survives, in keys and values; a value may be empty."""
    every = bytes(range(256))
    for key, value in ((every, every), (b"\xff" * 9, b""), (b"\0" * 9, b"\0")):
        await subject.store.put(subject.prefix + key, value)
        (kv,) = (await subject.store.range(subject.prefix + key)).kvs
        assert (kv.key, kv.value) == (subject.prefix + key, value)


async def large_value_survives(subject: StoreUnderTest) -> None:
    """A MiB is within every backend's limit."""
    value = bytes(range(256)) * 4096
    await subject.store.put(subject.key("a"), value)
    (kv,) = (await subject.store.range(subject.key("a"))).kvs
    assert kv.value == value


async def oversized_value_is_refused(subject: StoreUnderTest) -> None:
    """Above the limit nothing is written."""
    before = await subject.revision()
    await refused(subject.store.put(subject.key("a"), bytes(2 * 1024 * 1024)), RequestTooLarge)
    assert await subject.revision() == before


async def concurrent_puts_get_a_revision_each(subject: StoreUnderTest) -> None:
    """Writers that do not wait for each other are put in one order."""
    before = await subject.revision()
    keys = [subject.key(f"{number:03}") for number in range(100)]
    revisions = await asyncio.gather(*(subject.store.put(key, key) for key in keys))
    assert sorted(revisions) == list(range(before + 1, before + 101))
    found = {kv.key: kv.mod_revision for kv in (await subject.everything()).kvs}
    assert found == dict(zip(keys, revisions, strict=True))


CHECKS: tuple[StoreCheck, ...] = (
    put_makes_the_next_revision,
    new_key_has_version_one,
    overwriting_keeps_the_create_revision,
    recreated_key_starts_over,
    missing_key_reads_as_nothing,
    deleting_nothing_makes_no_revision,
    deleting_a_range_makes_one_revision,
    range_is_ordered_by_key,
    range_without_upper_bound_reads_all_after_a_key,
    range_that_ends_before_it_begins_is_empty,
    limit_cuts_but_counts_all,
    past_revisions_stay_readable,
    past_revision_with_a_limit_counts_the_past,
    future_revision_is_refused,
    keys_and_values_are_any_bytes,
    large_value_survives,
    oversized_value_is_refused,
    concurrent_puts_get_a_revision_each,
)
