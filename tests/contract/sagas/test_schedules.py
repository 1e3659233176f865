"""Sagas that begin by the calendar, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moreton.transactions.saga import Run, Saga, Sagas, Signal, step
from moreton.transactions.saga.ledgers.port import SagaRow
from moreton.transactions.saga.schedules import Every, Schedule, firing
from moreton.transactions.saga.schedules.rules import stamp
from moreton.transactions.saga.schedules.timetable import Entry, Timetable

# So long that no time comes due while a test runs, but for those that it sets.
SPAN = timedelta(days=100)
MICROS = 100 * 86_400 * 10**6
SELDOM = Every(SPAN)
PAUSE = threading.Event()  # between two looks
SECONDS_MAX = 30


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "_LOOK_SECONDS", 0.05)


@step(harmless=True)
def look(run: Run[Any]) -> Any:
    return run.input


TICK = Saga("tick", look)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(SECONDS_MAX * 100):
        if condition():
            return
        PAUSE.wait(0.01)
    raise AssertionError("it did not come to that")


def entry_of(sagas: Sagas) -> Entry:
    return Timetable(sagas._shop.ledger).entries()["seldom"]


def set_due(sagas: Sagas, spans: int) -> int:
    """As if the next one were due so many spans after the newest; that one's time."""
    ledger = sagas._shop.ledger
    now = ledger.now_nanos() // 1000
    newest = now - now % MICROS
    with ledger.changing("schedule") as change:
        change.execute("UPDATE @saga_schedules SET due = ?", newest + spans * MICROS)
    return newest


def ticks(sagas: Sagas) -> list[SagaRow]:
    return sagas._shop.ledger.listed(status=None, name="tick", most=1000)


def ids(newest: int, *spans: int) -> set[str]:
    return {f"seldom@{stamp(newest + n * MICROS)}" for n in spans}


def test_what_passed_while_no_engine_ran_is_made_up_for(url: str) -> None:
    def input_of(due: datetime) -> str:
        return due.isoformat()

    schedule = Schedule("seldom", TICK, SELDOM, input=input_of, catch_up=3)
    with Sagas(url, schedules=[schedule]) as sagas:
        newest = set_due(sagas, -9)
        wait_until(lambda: entry_of(sagas).due > newest)
        begun = {row.id for row in ticks(sagas)}
        assert begun == ids(newest, 0, -1, -2)
        assert entry_of(sagas).starts == 3
        outcome = sagas.find(f"seldom@{stamp(newest)}").wait(timedelta(seconds=SECONDS_MAX))
        assert outcome[look] == datetime.fromtimestamp(newest / 1e6, tz=UTC).isoformat()


def test_what_passed_is_left_out_and_said_unless_it_is_to_be_made_up_for(url: str) -> None:
    schedule = Schedule("seldom", TICK, SELDOM, grace=timedelta(microseconds=1))
    with Sagas(url, schedules=[schedule]) as sagas:
        newest = set_due(sagas, -2)
        wait_until(lambda: entry_of(sagas).due > newest)
        assert not ticks(sagas)
        assert "was left out: no engine ran" in entry_of(sagas).note


def test_each_due_time_begins_one_however_many_engines_have_the_schedule(
    postgres_of_session: Any,
) -> None:
    url = postgres_of_session.new_schema()
    schedule = Schedule("seldom", TICK, SELDOM, catch_up=40)
    engines = [Sagas(url, schedules=[schedule], name=f"{n}", workers=2) for n in range(3)]
    with engines[0] as one, engines[1], engines[2]:
        newest = set_due(one, -39)
        wait_until(lambda: entry_of(one).due > newest)
        assert {row.id for row in ticks(one)} == ids(newest, *range(-39, 1))
        assert entry_of(one).starts == 40


def test_calendar_that_was_ahead_and_is_set_back_begins_nothing_twice(url: str) -> None:
    schedule = Schedule("seldom", TICK, SELDOM, catch_up=1)
    with Sagas(url, schedules=[schedule]) as sagas:
        newest = set_due(sagas, 0)
        wait_until(lambda: entry_of(sagas).due > newest)
        set_due(sagas, 40)  # written when the calendar was years ahead
        wait_until(lambda: entry_of(sagas).due < newest + 40 * MICROS)
        assert entry_of(sagas).due <= newest + MICROS
        set_due(sagas, 0)  # the same time once more
        wait_until(lambda: entry_of(sagas).due > newest)
        assert {row.id for row in ticks(sagas)} == ids(newest, 0)
        assert entry_of(sagas).starts == 1


def test_due_time_is_left_out_while_the_one_before_has_not_ended(url: str) -> None:
    slow = Saga("slow", Signal("go"))
    schedule = Schedule("seldom", slow, SELDOM, catch_up=2, overlap=False)
    with Sagas(url, schedules=[schedule]) as sagas:
        newest = set_due(sagas, -1)
        wait_until(lambda: entry_of(sagas).due > newest)
        assert entry_of(sagas).starts == 1
        assert "has not ended" in entry_of(sagas).note


def test_rule_that_changed_counts_from_now_and_the_same_one_goes_on(url: str) -> None:
    daily = Schedule("seldom", TICK, Every(timedelta(days=1)))
    seldom = Schedule("seldom", TICK, SELDOM)
    with Sagas(url, schedules=[seldom]) as sagas:
        before = entry_of(sagas).due
    with Sagas(url, schedules=[seldom]) as sagas:
        assert entry_of(sagas).due == before
    with Sagas(url, schedules=[daily]) as sagas:
        assert entry_of(sagas).rule == "every 1d"
        assert entry_of(sagas).due % (86_400 * 10**6) == 0


@pytest.mark.parametrize(
    "trouble", [ValueError("no figures yet"), ValueError("\udcff\0 no figures yet"), SystemExit()]
)
def test_input_that_cannot_be_made_is_said_and_tried_again(
    url: str, trouble: BaseException
) -> None:
    broken = [trouble]

    def input_of(due: datetime) -> str:
        if broken:
            raise broken[0]
        return due.isoformat()

    schedule = Schedule("seldom", TICK, SELDOM, input=input_of, catch_up=1)
    with Sagas(url, schedules=[schedule]) as sagas:
        newest = set_due(sagas, 0)
        wait_until(lambda: type(trouble).__name__ in entry_of(sagas).note)
        broken.clear()
        wait_until(lambda: entry_of(sagas).due > newest)
        assert {row.id for row in ticks(sagas)} == ids(newest, 0)


def test_two_schedules_of_one_name_are_refused(url: str) -> None:
    twice = [Schedule("seldom", TICK, SELDOM), Schedule("seldom", TICK, SELDOM)]
    with pytest.raises(ValueError, match='two schedules are called "seldom"'):
        Sagas(url, schedules=twice).open()
