"""Traces that go on over services, and metrics, of every kind of transaction."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from prometheus_client import CollectorRegistry

from moreton.kernel.telemetry.exporting import OTHER, VALUES_MAX
from moreton.transactions import tracing
from moreton.transactions.barrier import Act, Call
from moreton.transactions.measuring import listeners, measure
from moreton.transactions.outbox import Consumer, Event, Inbox, Outbox, Relay
from moreton.transactions.saga import Run, Saga, Sagas, pivot, step
from moreton.transactions.tcc import Coordinator, Refused, open_log
from moreton.transactions.telemetry import (
    COUNTERS,
    export_opentelemetry,
    export_prometheus,
)
from moreton.transactions.twophase import SqliteParticipant, TwoPhase, open_decisions

SOON = timedelta(milliseconds=300)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    stop = export_prometheus(registry)
    yield registry
    stop()
    assert not listeners


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [one for one in spans.get_finished_spans() if one.name == name]


def only(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    found = named(spans, name)
    assert len(found) == 1, [one.name for one in spans.get_finished_spans()]
    return found[0]


def is_child(one: ReadableSpan, of: ReadableSpan) -> bool:
    assert one.parent is not None
    assert one.context is not None
    assert of.context is not None
    return (one.parent.span_id, one.context.trace_id) == (of.context.span_id, of.context.trace_id)


async def move(outbox: Outbox, inbox: Inbox, folder: Path, count: int) -> None:
    broker = f"sqlite:///{folder}/broker.db"
    relay = Relay(outbox, database=f"sqlite:///{folder}/shop.db", broker=broker, ttl=SOON)
    consumer = Consumer(
        inbox, topics=["orders"], database=f"sqlite:///{folder}/bank.db", broker=broker, ttl=SOON
    )
    tasks = [asyncio.create_task(relay.serve()), asyncio.create_task(consumer.serve())]
    async with asyncio.timeout(30):
        while consumer.statistics().handled < count:
            await asyncio.sleep(0.005)
    relay.stop()
    consumer.stop()
    await asyncio.gather(*tasks)


async def test_event_goes_on_with_the_trace_that_it_was_written_in(
    tmp_path: Path, spans: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    outbox, inbox, told = Outbox("orders"), Inbox("bank"), Outbox("payments")
    further: list[Event] = []

    @inbox.on("placed")
    async def pay(_: Event, __: Any) -> None:
        further.append(told.event("paid", 1))

    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        outbox.install(connection)
        with tracing.span("order", "server"):
            outbox.add(connection, "placed", 1, subject="a")
        connection.commit()
    await move(outbox, inbox, tmp_path, 1)
    order, process = only(spans, "order"), only(spans, "process placed")
    assert is_child(process, order)
    (link,) = only(spans, "send orders").links
    assert order.context is not None
    assert process.context is not None
    assert link.context.span_id == order.context.span_id
    # What the handler tells goes on with it, too.
    said = str(further[0].extensions["traceparent"])
    assert said.split("-")[1:3] == [
        f"{process.context.trace_id:032x}", f"{process.context.span_id:016x}",
    ]  # fmt: skip
    handled = {"consumer": "bank", "outcome": "handled"}
    assert registry.get_sample_value("moreton_inbox_events_total", handled) == 1
    assert registry.get_sample_value("moreton_outbox_events_total", {"topic": "orders"}) == 1
    delay = registry.get_sample_value("moreton_inbox_delay_seconds_count", {"consumer": "bank"})
    assert delay == 1


def test_call_of_tcc_carries_the_trace_of_its_transaction(
    tmp_path: Path, spans: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    calls: list[Call] = []

    def refuse(call: Call) -> None:
        if call.act is Act.DO:
            raise Refused("no")

    log = open_log(f"sqlite:///{tmp_path}/tcc.db")
    coordinator = Coordinator(log, {"stock": calls.append, "money": refuse})
    assert coordinator.run({"stock": 1})
    assert not coordinator.run({"money": 1})
    log.close()
    first, second = named(spans, "tcc")
    do, confirm = only(spans, "do stock"), only(spans, "confirm stock")
    assert is_child(do, first)
    assert is_child(confirm, first)
    assert do.context is not None
    assert f"{do.context.span_id:016x}" in calls[0].headers["traceparent"]
    assert Call.from_document(calls[0].as_document()).headers == calls[0].headers
    assert only(spans, "do money").status.status_code is trace.StatusCode.ERROR
    assert second.context != first.context
    for state in ("confirmed", "cancelled"):
        assert registry.get_sample_value("moreton_tcc_transactions_total", {"state": state}) == 1
    refused = {"participant": "money", "act": "do", "reply": "refused"}
    assert registry.get_sample_value("moreton_tcc_calls_total", refused) == 1


def test_two_phase_commit_shows_its_participants(
    tmp_path: Path, spans: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    names = ("orders", "stock")
    for name in names:
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute("CREATE TABLE thing (n INTEGER)")
    participants = [SqliteParticipant(name, tmp_path / name) for name in names]
    log = open_decisions(f"sqlite:///{tmp_path}/log.db")
    two_phase = TwoPhase(log, *participants)
    with two_phase.begin() as work:
        for name in names:
            work[name].execute("INSERT INTO thing VALUES (1)")
    with two_phase.begin() as work:
        work["orders"].execute("INSERT INTO thing VALUES (2)")
    with pytest.raises(RuntimeError), two_phase.begin() as work:
        raise RuntimeError
    two_phase.close()
    log.close()
    for one in participants:
        one.close()
    whole = named(spans, "two-phase commit")[0]
    for act in ("prepare", "commit"):
        for name in names:
            assert is_child(only(spans, f"{act} {name}"), whole)
    counted = "moreton_twophase_transactions_total"
    for outcome in ("committed", "one_phase", "rolled_back"):
        assert registry.get_sample_value(counted, {"outcome": outcome}) == 1


def test_saga_is_one_trace_over_all_its_workers(
    tmp_path: Path, spans: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    carried: list[str] = []

    @step(harmless=True)
    def look(run: Run[None]) -> None:
        carried.append(run.headers["traceparent"])
        assert run.call().headers == run.headers

    @pivot
    async def pay(run: Run[None]) -> None:
        carried.append(run.headers["traceparent"])

    url = f"sqlite:///{tmp_path}/sagas.db"
    order, other = Saga("order", look, pay), Saga("other", look)
    with Sagas(url, order, other) as sagas:
        with tracing.span("request", "server"):
            assert sagas.run(order, id="order-1")
        assert sagas.run(other, id="other-1")
    first, second = only(spans, "do order/look"), only(spans, "do order/pay")
    begin, request = only(spans, "begin order"), only(spans, "request")
    assert is_child(begin, request)
    ids = [one.context.trace_id for one in (first, second) if one.context is not None]
    assert ids[0] == ids[1] == begin.links[0].context.trace_id
    assert only(spans, "do other/look").context.trace_id != ids[0]
    # Whoever goes on with it elsewhere comes to the same trace.
    assert f"{ids[0]:032x}" in tracing.derived("saga", "order-1", "order")["traceparent"]
    assert f"{ids[0]:032x}" in carried[0]
    done = {"saga": "order", "step": "look", "op": "do", "outcome": "done"}
    assert registry.get_sample_value("moreton_saga_steps_total", done) == 1
    ended = {"saga": "order", "status": "completed"}
    assert registry.get_sample_value("moreton_saga_rested_total", ended) == 1


def test_trace_of_a_saga_is_sampled_as_the_provider_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    assert tracing.derived("saga", "a")["traceparent"].endswith("-00")


def test_each_label_has_a_bound(registry: CollectorRegistry) -> None:
    for number in range(VALUES_MAX + 5):
        measure("moreton_outbox_events", topic=f"topic-{number}")
    assert registry.get_sample_value("moreton_outbox_events_total", {"topic": OTHER}) == 5


def test_opentelemetry_counts_the_same() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    stop = export_opentelemetry(provider.get_meter("test"))
    for name, (labels, _) in COUNTERS.items():
        measure(name, **dict.fromkeys(labels, "x"))
    measure("moreton_tcc_seconds", 0.5)
    stop()
    data = reader.get_metrics_data()
    assert data is not None
    found = {one.name for one in data.resource_metrics[0].scope_metrics[0].metrics}
    assert found == {*COUNTERS, "moreton_tcc_seconds"}
    provider.shutdown()


def test_what_a_call_says_of_its_trace_is_not_believed_blindly() -> None:
    said = {"traceparent": "x" * 513, "tracestate": 7, "cookie": "secret"}
    document = {"transaction_id": "t", "branch": "b", "act": "do", "headers": said}
    assert Call.from_document(document).headers == {}
    assert Call.from_document({**document, "headers": "no"}).headers == {}
    assert Call("t", "b", Act.DO).as_document().keys() == {
        "transaction_id", "branch", "act", "payload",
    }  # fmt: skip


_WITHOUT = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
from moreton.kernel.telemetry.exporting import OTHER, VALUES_MAX
from moreton.transactions import tracing
from moreton.transactions.outbox import Outbox
with tracing.span("x"):
    assert not Outbox("orders").event("placed", 1).extensions
assert tracing.in_context(print) is print and not tracing.derived("a")
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
"""


def test_without_opentelemetry_nothing_is_loaded_or_carried() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
