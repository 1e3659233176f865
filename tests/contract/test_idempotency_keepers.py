"""What keeps idempotency keys: this process, SQLite, and PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from moreton.kernel.time import Instant
from moreton.transactions.idempotency import Interrupted, Keeper, keep_at
from moreton.transactions.idempotency.core.claims import Replay, Run, Unknown, Wait
from moreton.transactions.idempotency.core.keys import Stored
from moreton.transactions.idempotency.keeping import Keys, Slot

STORED = Stored(201, (("content-type", "text/plain"),), b"\x00\xffmade")


class HandClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Instant:
        return Instant(round(self.seconds * 1e9))

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture(scope="module", params=["memory", "sqlite", "postgres"])
def keeper(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keeper]:
    with contextlib.ExitStack() as stack:
        urls = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path_factory.mktemp('k') / 'k.db'}"}
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_of_session")
            urls["postgres"] = server.new_database()
        keeper = keep_at(urls[request.param])
        stack.callback(keeper.close)
        yield keeper


def keys_of(keeper: Keeper, clock: HandClock, how: Interrupted = Interrupted.REFUSE) -> Keys:
    return Keys(
        keeper,
        expires_in=timedelta(hours=1),
        lease=timedelta(seconds=10),
        interrupted=how,
        clock=clock,
    )


def test_an_answer_is_given_until_it_expires(keeper: Keeper) -> None:
    clock = HandClock()
    keys, slot = keys_of(keeper, clock), Slot("ada", "answered")
    run = keys.claim(slot, "f")
    assert isinstance(run, Run)
    assert keys.claim(slot, "f") == Wait(10)
    keys.answer(slot, run.token, 201, STORED)
    clock.seconds = 3599
    assert keys.claim(slot, "f") == Replay(STORED)
    clock.seconds = 3600
    assert isinstance(keys.claim(slot, "g"), Run)


def test_of_many_at_once_one_is_handled(keeper: Keeper) -> None:
    keys = keys_of(keeper, HandClock())
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            slot = Slot("ada", f"at-once-{number}")
            claims = list(pool.map(lambda _, slot=slot: keys.claim(slot, "f"), range(8)))
            assert sum(isinstance(claim, Run) for claim in claims) == 1
            assert sum(isinstance(claim, Wait) for claim in claims) == 7


def test_who_was_interrupted_is_refused_or_run_again_and_fenced(keeper: Keeper) -> None:
    clock = HandClock()
    slot = Slot("ada", "interrupted")
    first = keys_of(keeper, clock).claim(slot, "f")
    assert isinstance(first, Run)
    clock.seconds = 10
    assert keys_of(keeper, clock).claim(slot, "f") == Unknown()
    rerun = keys_of(keeper, clock, Interrupted.RERUN)
    second = rerun.claim(slot, "f")
    assert isinstance(second, Run)
    # The first one wakes up, and answers late: it does not count.
    rerun.answer(slot, first.token, 500, None)
    rerun.release(slot, first.token)
    assert rerun.claim(slot, "f") == Wait(10)
    rerun.answer(slot, second.token, 201, STORED)
    assert rerun.claim(slot, "f") == Replay(STORED)


def test_a_released_key_is_as_new_and_what_expired_is_removed(keeper: Keeper) -> None:
    clock = HandClock()
    keys, slot = keys_of(keeper, clock), Slot("bob", "released")
    for _ in range(2):
        run = keys.claim(slot, "f")
        assert isinstance(run, Run)
        keys.release(slot, run.token)
    assert isinstance(keys.claim(slot, "f"), Run)
    clock.seconds = 1e7
    assert keys.forget_expired() >= 1
    assert keys.forget_expired() == 0
