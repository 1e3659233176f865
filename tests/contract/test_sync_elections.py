"""What elections and locks promise to threads, on every store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from moreton.election import FencedOff, Holder, LeadershipLost, LockLost, StillHeld
from moreton.election.errors import AlreadyHeld
from moreton.election.sync import Election, Lock, ReadWriteLock, Semaphore, SyncStore, Term
from moreton.store import Put
from moreton.store.errors import StoreClosed

# Long enough to be kept on a busy machine, short enough to wait for its end.
TTL = timedelta(seconds=1.5)
LONG = timedelta(hours=1)
MOMENT = timedelta(milliseconds=50)
SECONDS = 20.0
PATIENCE = timedelta(seconds=SECONDS)


def in_thread(work: Callable[[], object]) -> object:
    """What *work* does in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(SECONDS)


def delete_entry(store: SyncStore, term: Term) -> None:
    """As an operator might, by hand."""
    store.call(lambda opened: opened.delete(term.key))


def test_lock_lets_one_thread_in_at_a_time(sync_store: SyncStore) -> None:
    lock = Lock(sync_store, "till", ttl=LONG)
    inside = most = 0

    def work(_: int) -> int:
        nonlocal inside, most
        with lock as held:
            inside += 1
            most = max(most, inside)
            held.check()
            held.write([Put(b"till", b"%d" % held.token)])
            inside -= 1
        return held.token

    with ThreadPoolExecutor(6) as pool:
        tokens = list(pool.map(work, range(12)))
    assert most == 1
    assert len(set(tokens)) == 12
    found = sync_store.call(lambda store: store.range(b"till"))
    assert found.kvs[0].value == b"%d" % max(tokens)


def test_thread_that_holds_a_lock_is_not_let_in_again(sync_store: SyncStore) -> None:
    lock = Lock(sync_store, "till", ttl=LONG)
    with lock:
        with pytest.raises(AlreadyHeld):
            lock.__enter__()
        with pytest.raises(StillHeld):
            in_thread(Lock(sync_store, "till", wait=MOMENT).__enter__)
    with lock:
        pass


def test_thread_is_told_of_a_lost_lock_when_it_asks_and_at_the_end(sync_store: SyncStore) -> None:
    lock = Lock(sync_store, "till", ttl=TTL)
    held = lock.__enter__()
    assert not held.wait_lost(MOMENT)
    delete_entry(sync_store, held)
    assert held.wait_lost(PATIENCE)
    assert not held.is_held
    with pytest.raises(LockLost, match="its entry was deleted"):
        held.check()
    with pytest.raises(FencedOff):
        held.write([Put(b"till", b"late")])
    with pytest.raises(LockLost, match="its entry was deleted"):
        lock.__exit__(None, None, None)


def test_error_of_the_body_is_not_hidden_by_the_loss(sync_store: SyncStore) -> None:
    def work() -> None:
        with Lock(sync_store, "till", ttl=TTL) as held:
            delete_entry(sync_store, held)
            held.wait_lost()
            raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        work()


def test_campaign_is_won_in_turn_and_resigned_at_once(sync_store: SyncStore) -> None:
    election = Election(sync_store, "jobs", ttl=LONG)
    assert election.leader() is None
    with election.campaign(b"one") as one, ThreadPoolExecutor(1) as pool:
        assert election.leader() == Holder(one.token, b"one")
        one.proclaim(b"moved")
        assert election.leader() == Holder(one.token, b"moved")
        second = pool.submit(lambda: election.campaign(b"two").__enter__())
        one.resign()
        assert not one.is_held
        two = second.result(SECONDS)
        assert two.token > one.token


def test_observer_sees_every_leader_and_the_gaps_between(sync_store: SyncStore) -> None:
    election = Election(sync_store, "jobs", ttl=LONG)
    seen = election.observe()
    assert next(seen) is None
    with election.campaign(b"one") as one:
        assert next(seen) == Holder(one.token, b"one")
    assert next(seen) is None
    seen.close()  # type: ignore[attr-defined]


def test_duty_runs_again_in_the_same_thread_after_a_loss(sync_store: SyncStore) -> None:
    runs: list[tuple[int, int]] = []

    def duty(term: Term) -> str:
        runs.append((threading.get_ident(), term.token))
        if len(runs) == 1:
            delete_entry(sync_store, term)
            assert term.wait_lost(PATIENCE)
            term.check()
        return "done"

    assert Election(sync_store, "jobs", ttl=TTL).lead(duty) == "done"
    (first, old), (second, new) = runs
    assert first == second == threading.get_ident()
    assert new > old


def test_error_of_a_duty_ends_leading(sync_store: SyncStore) -> None:
    def duty(_: Term) -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        Election(sync_store, "jobs", ttl=TTL).lead(duty)
    assert Election(sync_store, "jobs").leader() is None


def test_semaphore_and_read_write_lock_share_among_threads(sync_store: SyncStore) -> None:
    seats = Semaphore(sync_store, "seats", permits=2, ttl=LONG, wait=MOMENT)
    with seats, seats:
        assert len(seats.holders()) == 2
        with pytest.raises(StillHeld):
            in_thread(seats.__enter__)
    stock = ReadWriteLock(sync_store, "stock", ttl=LONG, wait=MOMENT)

    def enter_and_leave() -> None:
        with stock.read:
            pass

    with stock.read:
        in_thread(enter_and_leave)
        with pytest.raises(StillHeld):
            in_thread(stock.write.__enter__)
    with stock.write as writing:
        assert [holder.token for holder in stock.holders()] == [writing.token]


def test_closing_the_store_gives_back_what_was_held_and_tells_its_holder(
    sync_store: SyncStore,
) -> None:
    holding = Election(sync_store, "jobs", ttl=LONG).campaign()
    term = holding.__enter__()
    sync_store.close()
    sync_store.close()
    assert not term.is_held
    with pytest.raises(StoreClosed):
        Election(sync_store, "jobs").leader()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda store: Lock(store, "", ttl=TTL), "has 0 bytes"),
        (lambda store: Lock(store, "x", ttl=timedelta(days=2)), "cannot be kept"),
        (lambda store: Lock(store, "x", wait=timedelta(-1)), "nobody can wait"),
        (lambda store: Semaphore(store, "x", permits=0), "0 permits"),
        (lambda store: Election(store, "x").campaign(b"x" * 70_000), "70000 bytes"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_written(
    wrong: Callable[[SyncStore], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wrong(SyncStore("memory:"))


def test_leadership_lost_is_raised_at_the_end_of_a_body_that_did_not_ask(
    sync_store: SyncStore,
) -> None:
    holding = Election(sync_store, "jobs", ttl=TTL).campaign()
    term = holding.__enter__()
    delete_entry(sync_store, term)
    term.wait_lost()
    with pytest.raises(LeadershipLost):
        holding.__exit__(None, None, None)


def test_store_that_is_used_from_its_own_loop_says_so() -> None:
    with SyncStore("memory:") as store:
        lock = Lock(store, "till")
        with pytest.raises(RuntimeError, match="wait for itself"):
            store.call(lambda _: lock.__enter__())  # type: ignore[arg-type, return-value]


def test_what_is_not_a_store_for_threads_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="make one with SyncStore"):
        Lock("memory:", "till")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is not an address"):
        SyncStore(7)  # type: ignore[arg-type]
