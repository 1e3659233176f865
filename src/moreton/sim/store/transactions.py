"""Compare, then or else."""

from __future__ import annotations

import asyncio

from moreton.sim.store.subject import StoreCheck, StoreUnderTest, refused
from moreton.store import Compare, Delete, LeaseId, Put, Range
from moreton.store.core.model import DeleteResult, Op, PutResult, RangeResult
from moreton.store.errors import (
    DuplicateKey,
    FutureRevision,
    LeaseNotFound,
    RequestTooLarge,
)


async def _holds(subject: StoreUnderTest, *conditions: Compare) -> bool:
    return (await subject.store.txn(conditions)).succeeded


async def transaction_takes_then_when_all_comparisons_hold(subject: StoreUnderTest) -> None:
    """The chosen branch runs, the other does not."""
    a, b = subject.key("a"), subject.key("b")
    free = Compare.version(a, "=", 0)
    won = await subject.store.txn([free], [Put(a, b"me")], [Put(b, b"too late")])
    assert won.succeeded
    assert await subject.contents() == {a: b"me"}


async def transaction_takes_otherwise_when_one_comparison_fails(subject: StoreUnderTest) -> None:
    """One failing comparison among many is enough."""
    a, b = subject.key("a"), subject.key("b")
    await subject.store.put(a, b"taken")
    conditions = [Compare.version(b, "=", 0), Compare.version(a, "=", 0)]
    lost = await subject.store.txn(conditions, [Put(a, b"me")], [Range(a), Put(b, b"lost")])
    assert not lost.succeeded
    assert isinstance(lost.results[0], RangeResult)
    assert [kv.value for kv in lost.results[0].kvs] == [b"taken"]
    assert await subject.contents() == {a: b"taken", b: b"lost"}


async def comparisons_order_numbers(subject: StoreUnderTest) -> None:
    """Version, create and mod revision compare by all four operators."""
    a = subject.key("a")
    created = await subject.store.put(a, b"1")
    changed = await subject.store.put(a, b"2")
    for compare, number in (
        (Compare.version, 2),
        (Compare.create, created),
        (Compare.mod, changed),
    ):
        assert await _holds(subject, compare(a, "=", number))
        assert await _holds(subject, compare(a, "!=", number + 1))
        assert await _holds(subject, compare(a, ">", number - 1))
        assert await _holds(subject, compare(a, "<", number + 1))
        assert not await _holds(subject, compare(a, "=", number + 1))
        assert not await _holds(subject, compare(a, "!=", number))
        assert not await _holds(subject, compare(a, ">", number))
        assert not await _holds(subject, compare(a, "<", number))


async def comparisons_order_values_as_bytes(subject: StoreUnderTest) -> None:
    """Values compare byte by byte."""
    a = subject.key("a")
    await subject.store.put(a, b"m\xff")
    assert await _holds(subject, Compare.value(a, "=", b"m\xff"))
    assert await _holds(subject, Compare.value(a, ">", b"m"))
    assert await _holds(subject, Compare.value(a, "<", b"n"))
    assert await _holds(subject, Compare.value(a, "!=", b"m"))
    assert not await _holds(subject, Compare.value(a, "=", b"m"))
    assert not await _holds(subject, Compare.value(a, "<", b"m\xff"))


async def comparisons_know_the_lease(subject: StoreUnderTest) -> None:
    """A key without a lease has lease 0."""
    a, b = subject.key("a"), subject.key("b")
    lease = await subject.store.grant(subject.ttl * 100)
    await subject.store.put(a, b"1", lease=lease)
    await subject.store.put(b, b"1")
    assert await _holds(subject, Compare.lease(a, "=", lease))
    assert not await _holds(subject, Compare.lease(b, "=", lease))
    assert await _holds(subject, Compare.lease(b, "=", LeaseId(0)))
    await subject.store.revoke(lease)


async def missing_key_compares_as_zero(subject: StoreUnderTest) -> None:
    """Every number of a key that does not exist is 0, and no comparison of its value holds."""
    a = subject.key("a")
    for compare in (Compare.version, Compare.create, Compare.mod):
        assert await _holds(subject, compare(a, "=", 0))
        assert not await _holds(subject, compare(a, ">", 0))
    for operator in ("=", "!=", "<", ">"):
        assert not await _holds(subject, Compare.value(a, operator, b""))


async def comparison_of_a_range_holds_for_every_key(subject: StoreUnderTest) -> None:
    """With an end, all keys of the range must agree."""
    for name in "abc":
        last = await subject.store.put(subject.key(name), b"1")
    unchanged = Compare(subject.prefix, "mod", "<", last + 1, subject.end)
    assert await _holds(subject, unchanged)
    await subject.store.put(subject.key("b"), b"2")
    assert not await _holds(subject, unchanged)


async def transaction_is_one_revision(subject: StoreUnderTest) -> None:
    """All writes of a transaction carry its revision."""
    a, b, c = subject.key("a"), subject.key("b"), subject.key("c")
    before = await subject.store.put(c, b"1")
    done = await subject.store.txn(then=[Put(a, b"1"), Delete(c), Put(b, b"1")])
    assert done.revision == before + 1
    found = await subject.everything()
    assert [kv.mod_revision for kv in found.kvs] == [before + 1, before + 1]
    assert found.revision == before + 1


async def transaction_without_a_change_makes_no_revision(subject: StoreUnderTest) -> None:
    """Reading, and deleting nothing, changes nothing."""
    before = await subject.store.put(subject.key("a"), b"1")
    done = await subject.store.txn(then=[Range(subject.key("a")), Delete(subject.key("b"))])
    assert done.succeeded
    assert done.revision == before
    assert await subject.revision() == before


async def operations_see_those_before_them(subject: StoreUnderTest) -> None:
    """Within a transaction later operations see what earlier ones did; the past stays as it was."""
    a, b = subject.key("a"), subject.key("b")
    before = await subject.store.put(a, b"1")
    done = await subject.store.txn(
        then=[
            Range(a),
            Put(a, b"2"),
            Put(b, b"2"),
            Range(subject.prefix, subject.end),
            Range(subject.prefix, subject.end, revision=before),
        ]
    )
    ranges = [result for result in done.results if isinstance(result, RangeResult)]
    assert [[kv.value for kv in found.kvs] for found in ranges] == [[b"1"], [b"2", b"2"], [b"1"]]


async def results_tell_what_was_there(subject: StoreUnderTest) -> None:
    """A put and a delete answer with the previous keys."""
    a, b, c = subject.key("a"), subject.key("b"), subject.key("c")
    await subject.store.put(a, b"1")
    await subject.store.put(b, b"1")
    done = await subject.store.txn(then=[Put(a, b"2"), Put(c, b"2"), Delete(b)])
    over, fresh, gone = done.results
    assert isinstance(over, PutResult)
    assert over.prev is not None
    assert over.prev.value == b"1"
    assert fresh == PutResult(None)
    assert isinstance(gone, DeleteResult)
    assert gone.deleted == 1
    assert [kv.value for kv in gone.prev] == [b"1"]


async def writing_a_key_twice_is_refused(subject: StoreUnderTest) -> None:
    """A key has one value at a revision: two puts of it, or a put and a delete, cannot be one."""
    a = subject.key("a")
    before = await subject.store.put(a, b"1")
    branches: tuple[tuple[Op, ...], ...] = (
        (Put(a, b"2"), Put(a, b"3")),
        (Put(a, b"2"), Delete(a)),
        (Delete(subject.prefix, subject.end), Put(a, b"2")),
    )
    for branch in branches:
        await refused(subject.store.txn(then=branch), DuplicateKey)
        await refused(subject.store.txn(otherwise=branch), DuplicateKey)
    assert await subject.revision() == before
    # A key in both branches is written once at most.
    await subject.store.txn(then=[Put(a, b"2")], otherwise=[Put(a, b"3")])


async def refused_transaction_changes_nothing(subject: StoreUnderTest) -> None:
    """One impossible operation undoes the rest."""
    a, b = subject.key("a"), subject.key("b")
    before = await subject.store.put(a, b"1")
    stray = LeaseId(123_456_789)
    await refused(subject.store.txn(then=[Delete(a), Put(b, b"2", stray)]), LeaseNotFound)
    past = Range(a, revision=before + 100)
    await refused(subject.store.txn(then=[Put(b, b"2"), past]), FutureRevision)
    assert await subject.contents() == {a: b"1"}
    assert await subject.revision() == before


async def too_many_operations_are_refused(subject: StoreUnderTest) -> None:
    """128 operations fit, 129 do not."""
    keys = [subject.key(f"{number:03}") for number in range(129)]
    await refused(subject.store.txn(then=[Put(key, b"1") for key in keys]), RequestTooLarge)
    await subject.store.txn(then=[Put(key, b"1") for key in keys[:128]])
    assert len(await subject.contents()) == 128


async def concurrent_increments_are_all_counted(subject: StoreUnderTest) -> None:
    """Compare and put is atomic: no increment is lost among writers."""
    a = subject.key("a")
    await subject.store.put(a, b"0")

    async def increment() -> None:
        while True:
            (kv,) = (await subject.store.range(a)).kvs
            more = b"%d" % (int(kv.value) + 1)
            unchanged = Compare.mod(a, "=", kv.mod_revision)
            if (await subject.store.txn([unchanged], [Put(a, more)])).succeeded:
                return

    await asyncio.gather(*(increment() for _ in range(20)))
    assert await subject.contents() == {a: b"20"}


async def concurrent_elections_have_one_winner(subject: StoreUnderTest) -> None:
    """Of many who create a key only if it is not there, one succeeds."""
    a = subject.key("a")
    free = Compare.create(a, "=", 0)
    votes = (subject.store.txn([free], [Put(a, b"%d" % number)]) for number in range(20))
    results = await asyncio.gather(*votes)
    assert [result.succeeded for result in results].count(True) == 1


CHECKS: tuple[StoreCheck, ...] = (
    transaction_takes_then_when_all_comparisons_hold,
    transaction_takes_otherwise_when_one_comparison_fails,
    comparisons_order_numbers,
    comparisons_order_values_as_bytes,
    comparisons_know_the_lease,
    missing_key_compares_as_zero,
    comparison_of_a_range_holds_for_every_key,
    transaction_is_one_revision,
    transaction_without_a_change_makes_no_revision,
    operations_see_those_before_them,
    results_tell_what_was_there,
    writing_a_key_twice_is_refused,
    refused_transaction_changes_nothing,
    too_many_operations_are_refused,
    concurrent_increments_are_all_counted,
    concurrent_elections_have_one_winner,
)
