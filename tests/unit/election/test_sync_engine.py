"""A store for threads answers or refuses each of them, also while it is closed."""

from __future__ import annotations

import threading

import pytest

from moreton.election.sync import SyncStore
from moreton.election.sync.engine import Engine
from moreton.store import Store
from moreton.store.errors import StoreClosed
from support.waits import join_all


def test_what_is_asked_while_the_store_is_closed_is_answered_or_refused() -> None:
    store = SyncStore("memory:")
    store.call(lambda opened: opened.put(b"a", b"1"))
    ended: list[str] = []

    def ask() -> None:
        try:
            while True:
                store.call(lambda opened: opened.range(b"a"))
        except StoreClosed:
            ended.append("refused")
        except BaseException as error:  # noqa: BLE001 - it was under way
            ended.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    store.close()
    join_all(threads)
    assert len(ended) == 4


def test_an_engine_that_is_stopped_begins_nothing() -> None:
    engine = Engine("memory:")
    engine._stop()

    async def never() -> None:
        raise AssertionError("nobody runs it")

    with pytest.raises(StoreClosed):
        engine.start(never)


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_ends_its_caller_and_not_the_loop(end: BaseException) -> None:
    async def asked(_: Store) -> None:
        raise end

    with SyncStore("memory:") as store:
        store.call(lambda opened: opened.put(b"a", b"1"))
        with pytest.raises(type(end)):
            store.call(asked)
        (kept,) = store.call(lambda opened: opened.range(b"a")).kvs
        assert kept.value == b"1"
