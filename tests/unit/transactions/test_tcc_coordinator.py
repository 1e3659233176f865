"""The coordinator: who is asked, what is kept, and what it says to a mistake."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from moreton.kernel.time import Instant
from moreton.transactions.barrier import Act, Call
from moreton.transactions.tcc import (
    Coordinator,
    HttpParticipant,
    Refused,
    State,
    TccLog,
    open_log,
)
from moreton.transactions.tcc.errors import TransactionIdTaken, UnknownParticipant
from support.waits import join_all


class HandClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Instant:
        return Instant(round(self.seconds * 1e9))

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def log(tmp_path: Path, clock: HandClock) -> Iterator[TccLog]:
    log = open_log(f"sqlite:///{tmp_path / 'log.db'}", clock=clock)
    yield log
    log.close()


class Seen:
    """A participant that notes its calls, and fails as it is told."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.trouble: dict[Act, Exception] = {}

    def __call__(self, call: Call) -> None:
        self.acts.append(call.act)
        if call.act in self.trouble:
            raise self.trouble[call.act]


def test_all_are_tried_and_confirmed(log: TccLog, clock: HandClock) -> None:
    a, b = Seen(), Seen()
    coordinator = Coordinator(log, {"a": a, "b": b}, clock=clock)
    outcome = coordinator.run({"a": 1, "b": 2}, transaction_id="t")
    assert outcome
    assert outcome.state is State.CONFIRMED
    assert a.acts == b.acts == [Act.DO, Act.CONFIRM]
    assert coordinator.run({"a": 1, "b": 2}, transaction_id="t") == outcome
    assert a.acts == [Act.DO, Act.CONFIRM]
    with pytest.raises(TransactionIdTaken):
        coordinator.run({"a": 1}, transaction_id="t")


async def test_coroutine_functions_are_awaited(log: TccLog, clock: HandClock) -> None:
    a = Seen()

    async def b(call: Call) -> None:
        a(call)

    coordinator = Coordinator(log, {"a": a, "b": b}, clock=clock)
    assert await coordinator.run_async({"a": 1, "b": 2})
    assert sorted(a.acts) == [Act.CONFIRM, Act.CONFIRM, Act.DO, Act.DO]
    a.trouble[Act.DO] = Refused("no")
    outcome = await coordinator.run_async({"a": 1, "b": 2})
    assert outcome.state is State.CANCELLED
    assert await coordinator.recover_async() == []


def test_a_coroutine_function_is_named_where_it_cannot_be_awaited(
    log: TccLog, clock: HandClock
) -> None:
    async def a(_: Call) -> None: ...

    outcome = Coordinator(log, {"a": a}, clock=clock).run({"a": 1})
    assert not outcome
    assert "use run_async" in outcome.why


def test_a_refusal_undoes_all_and_says_why(log: TccLog, clock: HandClock) -> None:
    a, b = Seen(), Seen()
    b.trouble[Act.DO] = Refused("no figs")
    outcome = Coordinator(log, {"a": a, "b": b}, clock=clock).run({"a": 1, "b": 2})
    assert (outcome.state, outcome.why) == (State.CANCELLED, "b: no figs")
    assert a.acts[-1] is b.acts[-1] is Act.UNDO
    found = log.find(outcome.transaction_id)
    assert found is not None
    assert (found.state, found.trouble) == (State.CANCELLED, {"b": "no figs"})


def test_who_does_not_confirm_is_asked_again_until_it_does(log: TccLog, clock: HandClock) -> None:
    a, b = Seen(), Seen()
    b.trouble[Act.CONFIRM] = ConnectionError("away")
    coordinator = Coordinator(log, {"a": a, "b": b}, clock=clock)
    outcome = coordinator.run({"a": 1, "b": 2})
    assert outcome, "it is decided"
    assert (outcome.state, outcome.pending) == (State.CONFIRMING, ("b",))
    assert "away" in outcome.why
    for _ in range(3):
        clock.seconds += 120
        (again,) = coordinator.recover()
        assert again.pending == ("b",)
    assert log.unfinished()[0].attempts == 4
    b.trouble.clear()
    clock.seconds += 120
    (ended,) = coordinator.recover()
    assert ended.state is State.CONFIRMED
    assert a.acts == [Act.DO, Act.CONFIRM]
    assert coordinator.recover() == []


def test_what_nobody_decided_in_time_is_cancelled(log: TccLog, clock: HandClock) -> None:
    log.begin("t", {"a": 1}, timedelta(seconds=30))
    a = Seen()
    coordinator = Coordinator(log, {"a": a}, clock=clock)
    assert coordinator.recover() == []
    clock.seconds = 30
    (outcome,) = coordinator.recover()
    assert (outcome.state, outcome.why) == (State.CANCELLED, "it expired")
    assert a.acts == [Act.UNDO]
    # Who was frozen meanwhile cannot confirm any more, though its own clock stood still.
    assert log.decide("t", State.CONFIRMING, timedelta(seconds=1)) is State.CANCELLED
    assert log.forget(older_than=timedelta(seconds=1)) == 1
    assert log.decide("t", State.CONFIRMING, timedelta(seconds=1)) is State.CANCELLED


def test_a_transaction_that_somebody_is_at_is_left_alone(log: TccLog, clock: HandClock) -> None:
    log.begin("t", {"a": 1}, timedelta(seconds=1))
    clock.seconds = 1
    assert len(log.claim(10, timedelta(seconds=30))) == 1
    assert log.claim(10, timedelta(seconds=30)) == []
    clock.seconds = 31
    assert len(log.claim(10, timedelta(seconds=30))) == 1


def test_mistakes_are_refused_before_anything_is_done(log: TccLog, clock: HandClock) -> None:
    coordinator = Coordinator(log, {"a": Seen()}, clock=clock)
    with pytest.raises(UnknownParticipant, match="known are a"):
        coordinator.run({"b": 1})
    with pytest.raises(ValueError, match="number of branches is 0"):
        coordinator.run({})
    with pytest.raises(TypeError, match="cannot be kept as JSON"):
        coordinator.run({"a": object()})
    with pytest.raises(ValueError, match="letters as JSON"):
        coordinator.run({"a": "x" * 2_000_000})
    with pytest.raises(ValueError, match="transaction_id is ''"):
        coordinator.run({"a": 1}, transaction_id="")
    with pytest.raises(TypeError, match="give a function"):
        Coordinator(log, {"a": 7})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="open_log"):
        Coordinator("log", {})  # type: ignore[arg-type]
    assert log.unfinished() == []


class Service(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers['idempotency-key']}".encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.slow
def test_a_service_answers_by_its_status() -> None:
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    participant = HttpParticipant(f"http://127.0.0.1:{server.server_port}/stock/")
    call = Call("t", "stock", Act.DO, {"fig": 2})
    try:
        participant(call)
        Service.status = 409
        with pytest.raises(Refused, match=r'status 409: /stock/do "t.stock.do"'):
            participant(call)
        for status in (429, 503):
            Service.status = status
            with pytest.raises(ConnectionError):
                participant(call)
    finally:
        server.shutdown()
        join_all([thread])
        server.server_close()
    with pytest.raises(ValueError, match="begins with http"):
        HttpParticipant("stock:8000")


def test_a_closed_coordinator_begins_nothing_and_leaves_no_thread(log: TccLog) -> None:
    seen, before = Seen(), set(threading.enumerate())
    coordinator = Coordinator(log, {"a": seen, "b": Seen()})
    assert coordinator.run({"a": 1, "b": 1})
    coordinator.close()
    coordinator.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="the coordinator is closed"):
        coordinator.run({"a": 1}, transaction_id="late")
    assert Coordinator(log, {"a": seen}).recover() == [], "nothing was begun"
