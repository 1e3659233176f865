"""Bad input and trouble, on every database that keeps sagas."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest

from moreton.transactions.saga import Run, Saga, Sagas, Status, pivot, step
from moreton.transactions.saga.errors import (
    EngineClosed,
    NotSerialisable,
    PayloadTooLarge,
    SagaChanged,
    SagaNotRegistered,
    SagasFull,
    UnknownLedgerUrl,
)
from support.saga_shop import Shop, break_down

FIG = {"article": "fig"}
MEGABYTE = 1024 * 1024
PAUSE = threading.Event()  # between two tries


def returning(value: object) -> tuple[Saga, list[object]]:
    undone: list[object] = []

    @step
    def give(_: Run[Any]) -> object:
        return value

    @give.undo
    def take(_: Run[Any], found: object) -> None:
        undone.append(found)

    return Saga("give", give), undone


@pytest.mark.parametrize(
    ("value", "why"),
    [(object(), "has no form as JSON"), (float("nan"), "nan"), ("x" * 10 * MEGABYTE, "10,485,7")],
)
def test_result_that_cannot_be_kept_is_undone_and_says_why(
    url: str, value: object, why: str
) -> None:
    saga, undone = returning(value)
    with Sagas(url, saga) as sagas:
        outcome = sagas.run(saga)
    assert outcome.status is Status.COMPENSATED
    assert why in outcome.reason
    assert undone == [None]


@pytest.mark.parametrize("text", ["\udcff.pdf", "a\0b", "\U0001f33f"])
def test_text_that_databases_do_not_take_is_kept_all_the_same(url: str, text: str) -> None:
    seen: list[object] = []

    @pivot
    def look(run: Run[Any]) -> str:
        seen.append(run.input)
        return text

    @step(retry=None)
    def fail(_: Run[Any]) -> None:
        raise FileNotFoundError(text)

    @fail.undo
    def unfail(_: Run[Any], __: object) -> None: ...

    looking, failing = Saga("looking", look), Saga("failing", fail)
    with Sagas(url, looking, failing) as sagas:
        assert sagas.run(looking, {text: text}, id="a")[look] == text
        assert seen == [{text: text}]
        outcome = sagas.start(failing).wait(timedelta(seconds=20))
    assert outcome.status is Status.COMPENSATED
    assert "FileNotFoundError" in outcome.reason


@pytest.mark.parametrize("text", ["", "\udcff", "a\0b"])
def test_id_and_lock_that_databases_do_not_take_are_refused(url: str, text: str) -> None:
    saga, _ = returning(1)
    locking = Saga("locking", *saga.steps.values(), locks=lambda _: [text])
    with Sagas(url, saga, locking) as sagas:
        with pytest.raises(ValueError, match="id is"):
            sagas.start(saga, id=text)
        if text:
            with pytest.raises(ValueError, match="a lock is"):
                sagas.start(locking)
        assert sagas.counts() == {}


def test_ten_megabytes_are_kept_by_who_says_so(url: str) -> None:
    saga, _ = returning("x" * 10 * MEGABYTE)
    with Sagas(url, saga, payload_bytes_max=16 * MEGABYTE) as sagas:
        assert sagas.run(saga, "y" * 10 * MEGABYTE)


def test_input_that_cannot_be_kept_begins_nothing(url: str) -> None:
    saga, _ = returning(1)
    with Sagas(url, saga) as sagas:
        with pytest.raises(NotSerialisable, match="the input of saga"):
            sagas.start(saga, {1, 2})
        with pytest.raises(PayloadTooLarge, match="raise payload_bytes_max"):
            sagas.start(saga, "x" * 10 * MEGABYTE)
        assert sagas.counts() == {}


def test_burst_of_many_threads_never_passes_what_may_wait(url: str) -> None:
    go, barrier = threading.Event(), threading.Barrier(8)

    @step(harmless=True)
    def hold(_: object) -> None:
        assert go.wait(30)

    saga = Saga("hold", hold)
    with Sagas(url, saga, workers=1, pending_max=20) as sagas:

        def burst(number: int) -> int:
            barrier.wait(30)
            begun = 0
            for each in range(20):
                with contextlib.suppress(SagasFull):
                    sagas.start(saga, id=f"{number}-{each}")
                    begun += 1
            return begun

        with ThreadPoolExecutor(8) as threads:
            begun = sum(threads.map(burst, range(8)))
        waiting = sagas._shop.ledger.pending(1000)
        assert waiting <= 20
        # One that is on its way while the log is counted is counted twice, until the next time.
        assert 20 - 8 <= begun < 8 * 20
        go.set()
        while not may_begin(sagas, saga):  # once those are gone
            PAUSE.wait(0.005)
        ends = [sagas.find(row.id) for row in sagas._shop.ledger.listed(
            status=None, name=None, most=1000)]  # fmt: skip
        assert all(one.wait(timedelta(seconds=30)) for one in ends)


def may_begin(sagas: Sagas, saga: Saga) -> bool:
    with contextlib.suppress(SagasFull):
        sagas.start(saga)
        return True
    return False


def test_input_comes_back_as_what_it_was(url: str) -> None:
    @dataclass(frozen=True)
    class Order:
        article: str
        within: timedelta

    seen = []

    @pivot
    def look(run: Run[Order]) -> None:
        seen.append(run.input)

    saga = Saga("typed", look, input=Order)
    order = Order("fig", timedelta(days=2))
    with Sagas(url, saga) as sagas:
        assert sagas.run(saga, order)
    assert seen == [order]


@pytest.mark.parametrize(
    "value",
    [
        {"$date": "2026-11-27"},
        {"at": [{"$date": 5}, {"$dict": ["$bytes", "zz"]}, {"$uuid": 1, "b": 2}]},
        {"when": [date(2026, 11, 27), {"$seconds": "x"}]},
    ],
)
def test_dictionary_that_looks_like_a_date_comes_back_as_it_was(url: str, value: object) -> None:
    @pivot
    def look(run: Run[Any]) -> object:
        return run.input

    saga = Saga("look", look)
    with Sagas(url, saga) as sagas:
        assert sagas.run(saga, value)[look] == value


def test_definition_that_changed_under_running_sagas_is_refused(url: str) -> None:
    shop = Shop()
    shop.fails["pay"] = break_down
    changed = Saga("order", shop.stock, shop.pay)
    with Sagas(url, shop.order) as sagas:
        sagas.run(shop.order, FIG, id="a")
    with pytest.raises(SagaChanged, match="1 of it are not at their end") as caught:
        Sagas(url, changed).open()
    assert "stock, money, courier, pay, mail" in str(caught.value)
    newer = Saga("order", shop.stock, shop.pay, version=2)
    shop.fails.clear()
    with Sagas(url, newer, shop.order) as sagas:
        assert sagas.run(newer, FIG, id="b")
        sagas.decide("a", "retry")
        assert sagas.find("a").wait(timedelta(seconds=30))
    Sagas(url, changed).open()  # nothing runs by the old one any more


def test_engine_without_the_code_of_a_saga_says_so(url: str) -> None:
    saga, _ = returning(1)
    other = Saga("other", *saga.steps.values())
    with Sagas(url, saga) as sagas:
        sagas.run(saga, id="a")
    with Sagas(url, other) as sagas:
        for ask in (
            lambda: sagas.find("a"),
            lambda: sagas.decide("a", "compensate"),
            lambda: sagas.fork("a", "give"),
        ):
            with pytest.raises(SagaNotRegistered, match='give version 1, by which saga "a" goes'):
                ask()


def test_engine_refuses_what_it_does_not_know_and_what_cannot_be_meant(url: str) -> None:
    saga, _ = returning(1)
    other, _ = returning(2)
    with pytest.raises(ValueError, match="two sagas are called"):
        Sagas(url, saga, other)
    with Sagas(url, saga) as sagas:
        with pytest.raises(SagaNotRegistered, match="knows give version 1"):
            sagas.start(other)
        with pytest.raises(ValueError, match="id is ''"):
            sagas.start(saga, id="")
    with pytest.raises(EngineClosed):
        sagas.start(saga)
    with pytest.raises(UnknownLedgerUrl, match="mysql"):
        Sagas("mysql://host/db", saga).open()
    with pytest.raises(ValueError, match="workers is 0"):
        Sagas(url, saga, workers=0)
    with pytest.raises(TypeError, match="sagas is"):
        Sagas(url, returning)  # type: ignore[arg-type]
