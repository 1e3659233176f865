from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from moreton.kernel.telemetry.exporting import VALUES_MAX
from moreton.resilience import Backoff, CircuitBreaker, Fallback, Policy, Retry
from moreton.resilience.events import Event, TimedOut, emit, listeners
from moreton.resilience.telemetry import (
    _MEASURES,
    COUNTERS,
    export_opentelemetry,
    export_prometheus,
)
from moreton.testing import no_backoff


def fail() -> None:
    raise ConnectionResetError


def trouble() -> None:
    """Two retries, one end of them, a breaker that opens and refuses, a fallback."""
    retry = Retry(
        attempts=3, idempotent=True, name="stock", backoff=Backoff.constant(timedelta(seconds=1))
    )
    breaker = CircuitBreaker(name="stock")
    Policy(Fallback(0, name="stock"), retry)(fail)()
    breaker.open()
    Policy(Fallback(0, name="stock"), breaker)(fail)()


def test_prometheus_counts_what_happened() -> None:
    registry = CollectorRegistry()
    stop = export_prometheus(registry)
    with no_backoff():
        trouble()
    stop_sample = {"name": "stock", "why": "attempts"}
    refused = {"name": "stock", "code": "circuit-open"}
    assert registry.get_sample_value("moreton_retries_total", {"name": "stock"}) == 2
    assert registry.get_sample_value("moreton_retries_stopped_total", stop_sample) == 1
    assert registry.get_sample_value("moreton_calls_refused_total", refused) == 1
    assert registry.get_sample_value("moreton_breaker_state", {"name": "stock"}) == 2
    assert registry.get_sample_value("moreton_fallbacks_total", {"name": "stock"}) == 2
    stop()
    assert not listeners
    export_prometheus(registry)()  # the names are free again


def test_prometheus_refuses_to_count_twice() -> None:
    registry = CollectorRegistry()
    stop = export_prometheus(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        export_prometheus(registry)
    stop()


def test_series_stay_bounded_when_names_do_not() -> None:
    registry = CollectorRegistry()
    stop = export_prometheus(registry)
    for number in range(VALUES_MAX + 50):
        emit(TimedOut(f"tenant-{number}", 1.0))
    stop_values = [
        sample.labels["name"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "moreton_timeouts_total"
    ]
    assert len(stop_values) == VALUES_MAX + 1
    assert registry.get_sample_value("moreton_timeouts_total", {"name": "other"}) == 50
    stop()


def test_opentelemetry_has_the_same_names() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    stop = export_opentelemetry(provider.get_meter("test"))
    with no_backoff():
        trouble()
    stop()
    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    counts: dict[str, Any] = {metric.name: metric.data.data_points[0] for metric in metrics}
    assert counts["moreton_retries"].value == 2
    assert counts["moreton_breaker_state"].value == 2
    assert counts["moreton_retries_stopped"].attributes == {"name": "stock", "why": "attempts"}
    provider.shutdown()


def test_listener_that_fails_spoils_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: object) -> None:
        raise RuntimeError(repr(event))

    listeners.append(broken)
    try:
        emit(TimedOut("stock", 1.0))
    finally:
        listeners.remove(broken)
    assert "a listener failed" in caplog.text


def test_every_event_has_a_counter() -> None:
    assert set(_MEASURES) == set(get_args(Event))
    assert {counter for counter, _ in _MEASURES.values()} == set(COUNTERS)
