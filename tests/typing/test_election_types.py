"""What type checkers see of elections and locks; mypy reads this file, pytest runs it."""

from __future__ import annotations

from typing import assert_type

from moreton.election import Election, Holder, Lock, ReadWriteLock, Semaphore, Term, sync
from moreton.store import Compare, TxnResult, open_store


async def answer(term: Term) -> int:
    return term.token


def sync_answer(term: sync.Term) -> int:
    return term.token


async def test_terms_and_duties_keep_their_types() -> None:
    store = open_store("memory:")
    election = Election(store, "jobs")
    async with election.campaign() as term:
        assert_type(term, Term)
        assert_type(term.guard, Compare)
        assert_type(await term.write([]), TxnResult)
        assert_type(await election.leader(), Holder | None)
    assert_type(await election.lead(answer), int)
    async with Lock(store, "a") as held, Semaphore(store, "b", permits=1) as permit:
        assert_type(held, Term)
        assert_type(permit, Term)
    async with ReadWriteLock(store, "c").read as reading:
        assert_type(reading, Term)
    await store.close()


def test_threads_see_the_same_types() -> None:
    with sync.SyncStore("memory:") as store:
        election = sync.Election(store, "jobs")
        with election.campaign() as term:
            assert_type(term, sync.Term)
            assert_type(election.leader(), Holder | None)
        assert_type(election.lead(sync_answer), int)
        with sync.Lock(store, "a") as held:
            assert_type(held, sync.Term)
        assert_type(store.call(lambda opened: opened.put(b"key", b"value")), int)
