"""Signals, pauses, children and locks of sagas, on every database that keeps them."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from moreton.transactions.saga import (
    Child,
    Declined,
    Pause,
    Run,
    Saga,
    Sagas,
    Signal,
    Status,
    pivot,
    step,
)
from moreton.transactions.saga.errors import SagaIllDefined, SagaUnknown, SignalRefused
from moreton.transactions.saga.ledgers.opening import open_ledger
from support.saga_shop import QUICK, Shop, break_down, decline

FIG = {"article": "fig"}
PATIENCE = timedelta(seconds=30)
PAUSE = threading.Event()  # between two looks
APPROVAL = Signal("approval", timeout=timedelta(hours=1))


class Approved:
    def __init__(self, approval: Signal = APPROVAL) -> None:
        self.calls: list[object] = []
        calls = self.calls

        @step
        def ask(_: Run[Any]) -> None:
            calls.append("ask")

        @ask.undo
        def forget(_: Run[Any], __: object) -> None:
            calls.append("forget")

        @pivot
        def act(run: Run[Any]) -> None:
            calls.append(run[approval])

        self.saga = Saga("approved", ask, approval, act)


def wait_status(sagas: Sagas, saga_id: str, status: Status) -> None:
    found = None
    until = time.monotonic() + PATIENCE.total_seconds()
    while found is not status:
        assert time.monotonic() < until, f"{saga_id} is {found}"
        PAUSE.wait(0.005)
        with contextlib.suppress(SagaUnknown):  # a child, before it is begun
            found = sagas.find(saga_id).status()


def test_saga_waits_for_a_signal_also_over_a_restart(url: str) -> None:
    made = Approved()
    with Sagas(url, made.saga) as sagas:
        sagas.start(made.saga, id="a")
        wait_status(sagas, "a", Status.WAITING)
    with Sagas(url, made.saga) as sagas:
        sagas.signal("a", "approval", {"by": "anna"})
        assert sagas.find("a").wait(PATIENCE)
    assert made.calls == ["ask", {"by": "anna"}]


def test_signal_may_come_before_the_saga_waits_and_counts_once(url: str) -> None:
    made = Approved()
    with Sagas(url, made.saga, workers=1) as sagas:
        handle = sagas.start(made.saga, id="a")
        sagas.signal("a", "approval", "yes")
        with pytest.raises(SignalRefused, match=r"came before|completed already"):
            sagas.signal("a", "approval", "no")
        assert handle.wait(PATIENCE)
        with pytest.raises(SignalRefused, match="completed already"):
            sagas.signal("a", "approval", "yes")
        with pytest.raises(SignalRefused, match="waits for approval"):
            sagas.signal("a", "aproval", "yes")


def test_signal_is_held_to_the_saga_also_by_who_has_not_its_code(url: str) -> None:
    made = Approved()
    with Sagas(url, made.saga) as sagas:
        sagas.start(made.saga, id="a")
        wait_status(sagas, "a", Status.WAITING)
    with Sagas(url) as teller:
        with pytest.raises(SignalRefused, match="it waits for approval"):
            teller.signal("a", "aproval", "yes")
        teller.signal("a", "approval", "yes")
        teller.signal("a", "approval", "yes")
        with pytest.raises(SignalRefused, match="came before"):
            teller.signal("a", "approval", "no")
    with Sagas(url, made.saga) as sagas:
        assert sagas.find("a").wait(PATIENCE)
    assert made.calls == ["ask", "yes"]


@pytest.mark.parametrize("on_a_loop", [False, True])
def test_signal_that_came_while_no_engine_ran_is_not_too_late(url: str, *, on_a_loop: bool) -> None:
    @step(harmless=True)
    async def look(_: Run[Any]) -> None: ...

    wait = Signal("approval", timeout=timedelta(milliseconds=300))
    saga = Saga("slow", wait, look) if on_a_loop else Saga("slow", wait)
    with Sagas(url, saga) as sagas:
        sagas.start(saga, id="a")
        wait_status(sagas, "a", Status.WAITING)
    ledger = open_ledger(url, lease=PATIENCE, owner=False)
    row = ledger.find("a")
    assert row is not None
    assert ledger.signal(row.number, "approval", '"anna"')
    ledger.close()
    PAUSE.wait(0.4)  # its time passes
    with Sagas(url, saga) as sagas:
        assert sagas.find("a").wait(PATIENCE)[wait] == "anna"


def test_saga_goes_back_when_nobody_approves_in_time(url: str) -> None:
    made = Approved(Signal("approval", timeout=timedelta(milliseconds=20)))
    with Sagas(url, made.saga) as sagas:
        outcome = sagas.start(made.saga).wait(PATIENCE)
    assert outcome.status is Status.COMPENSATED
    assert outcome.reason == "approval: nothing came in its time"
    assert made.calls == ["ask", "forget"]


def test_pause_is_sat_out_or_put_down(url: str) -> None:
    for length in (timedelta(milliseconds=5), timedelta(milliseconds=1050)):
        saga = Saga("rest", Pause("rest", length))
        with Sagas(url, saga) as sagas:
            handle = sagas.start(saga)
            if length > timedelta(seconds=1):
                wait_status(sagas, handle.id, Status.WAITING)
            assert handle.wait(PATIENCE)


class Family:
    def __init__(self) -> None:
        self.shop = Shop()
        shop = self.shop

        @step
        def pack(run: Run[Any]) -> str:
            return shop.do(run)

        @pack.undo(retry=QUICK)
        def unpack(run: Run[Any], found: str | None) -> None:
            shop.undo(run, found)

        @pivot
        def leave(run: Run[Any]) -> str:
            return shop.do(run)

        self.parcel = Saga("parcel", pack)
        self.trip = Saga("trip", shop.stock, Child(self.parcel), leave)


def test_child_runs_to_its_end_before_its_parent_goes_on(url: str) -> None:
    family = Family()
    with Sagas(url, family.trip) as sagas:
        assert sagas.run(family.trip, FIG, id="a")
        assert sagas.find("a/parcel").status() is Status.COMPLETED
    assert family.shop.calls == ["stock", "pack", "leave"]


def test_child_that_went_back_sends_its_parent_back(url: str) -> None:
    family = Family()
    family.shop.fails["pack"] = decline
    with Sagas(url, family.trip) as sagas:
        outcome = sagas.run(family.trip, FIG, id="a")
    assert outcome.status is Status.COMPENSATED
    assert "no more figs" in outcome.reason
    assert family.shop.calls == ["stock", "pack", "un-stock"]


def test_child_that_completed_is_compensated_when_its_parent_goes_back(url: str) -> None:
    family = Family()
    family.shop.fails["leave"] = decline
    with Sagas(url, family.trip) as sagas:
        assert sagas.run(family.trip, FIG, id="a").status is Status.COMPENSATED
        assert sagas.find("a/parcel").status() is Status.COMPENSATED
    assert family.shop.calls == ["stock", "pack", "leave", "un-pack", "un-stock"]


def test_child_is_not_forgotten_before_its_parent(url: str) -> None:
    shop, go = Shop(), Signal("go")
    shop.fails["pay"] = decline
    parcel = Saga("parcel", shop.stock)
    trip = Saga("trip", Child(parcel), go, shop.pay)
    with Sagas(url, trip) as sagas:
        sagas.start(trip, FIG, id="a")
        wait_status(sagas, "a/parcel", Status.COMPLETED)
        assert sagas.forget(timedelta(0)) == 0
        sagas.signal("a", "go")
        assert sagas.find("a").wait(PATIENCE).status is Status.COMPENSATED
        assert shop.calls == ["stock", "pay", "un-stock"]
        assert sagas.forget(timedelta(0)) == 2


def test_fork_that_goes_back_undoes_the_child_that_it_took_over(url: str) -> None:
    family = Family()
    family.shop.fails["leave"] = break_down
    with Sagas(url, family.trip) as sagas:
        assert sagas.run(family.trip, FIG, id="a").status is Status.PARKED
        family.shop.fails["leave"] = decline
        assert sagas.fork("a", "leave").wait(PATIENCE).status is Status.COMPENSATED
        assert sagas.find("a/parcel").status() is Status.COMPENSATED
    assert family.shop.calls[-2:] == ["un-pack", "un-stock"]


def test_child_is_not_begun_by_a_worker_that_was_frozen_until_its_parent_went_back(
    url: str,
) -> None:
    family = Family()
    with Sagas(url, family.trip) as sagas:
        waiting = sagas._shop.threads._waiting
        begin, woken = waiting._begin, threading.Event()

        def frozen(job: Any, step: Any) -> Any:
            sagas.decide("a", "compensate")
            wait_status(sagas, "a", Status.COMPENSATED)
            woken.set()
            return begin(job, step)

        waiting._begin = frozen
        sagas.start(family.trip, FIG, id="a")
        assert woken.wait(30)
        assert sagas.find("a/parcel").wait(PATIENCE).status is Status.COMPENSATED
    assert family.shop.calls == ["stock", "un-stock"]


def test_parent_waits_while_its_child_is_parked(url: str) -> None:
    family = Family()
    family.shop.fails |= {"leave": decline, "un-pack": break_down}
    with Sagas(url, family.trip) as sagas:
        handle = sagas.start(family.trip, FIG, id="a")
        wait_status(sagas, "a/parcel", Status.PARKED)  # it had completed: it is being undone
        wait_status(sagas, "a", Status.WAITING)
        sagas.decide("a/parcel", "skip")
        assert handle.wait(PATIENCE).status is Status.COMPENSATED


def test_child_that_could_not_be_undone_is_refused() -> None:
    @pivot
    def leave(run: Run[Any]) -> None:
        pass

    with pytest.raises(SagaIllDefined, match="passes a point of no return"):
        Child(Saga("parcel", leave))


def test_lock_lets_one_saga_in_at_a_time_in_the_order_of_their_beginning(url: str) -> None:
    seen: list[str] = []
    approval = Signal("go")

    @step
    def enter(run: Run[Any]) -> None:
        seen.append(f"{run.id} enters")

    @enter.undo
    def leave(run: Run[Any], _: object) -> None:
        seen.append(f"{run.id} leaves")

    @pivot
    def end(run: Run[Any]) -> None:
        if run[approval] == "no":
            raise Declined("no")
        seen.append(f"{run.id} ends")

    saga = Saga("locked", enter, approval, end, locks=lambda order: [order["customer"]])
    with Sagas(url, saga) as sagas:
        mine = [sagas.start(saga, {"customer": "anna"}, id=name) for name in "abc"]
        other = sagas.start(saga, {"customer": "ben"}, id="other")
        sagas.signal("other", "go")
        assert other.wait(PATIENCE)
        assert seen.count("b enters") == 0
        for handle, word in zip(mine, ("yes", "no", "yes"), strict=True):
            sagas.signal(handle.id, "go", word)
        ends = [handle.wait(PATIENCE).status for handle in mine]
    assert ends == [Status.COMPLETED, Status.COMPENSATED, Status.COMPLETED]
    ours = [line for line in seen if "other" not in line]
    assert ours == ["a enters", "a ends", "b enters", "b leaves", "c enters", "c ends"]
