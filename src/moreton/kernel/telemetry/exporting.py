"""Counters, histograms of seconds and gauges, made and told in either way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

VALUES_MAX = 100
OTHER = "other"
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
# Name -> its labels and what it tells.
Described: TypeAlias = Mapping[str, tuple[tuple[str, ...], str]]


@dataclass(frozen=True, slots=True)
class Metrics:
    """What may be told: *counters*, *histograms* of seconds, *gauges*; no name in two of them."""

    counters: Described
    histograms: Described = field(default_factory=dict)
    gauges: Described = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Way:
    """How to *tell* a metric by its name an amount, with its labels; and how to *stop*."""

    tell: Callable[[str, float, Mapping[str, str]], None]
    stop: Callable[[], None]


def to_prometheus(metrics: Metrics, registry: CollectorRegistry) -> Way:
    """Into *registry*. Raises `ValueError` when it has one of *metrics* already."""
    made: dict[str, tuple[Any, tuple[str, ...], Callable[[Any, float], None]]] = {}
    for name, (labels, text) in metrics.counters.items():
        made[name] = Counter(name, text, labels, registry=registry), labels, Counter.inc
    for name, (labels, text) in metrics.histograms.items():
        one = Histogram(name, text, labels, registry=registry, buckets=_BUCKETS)
        made[name] = one, labels, Histogram.observe
    for name, (labels, text) in metrics.gauges.items():
        made[name] = Gauge(name, text, labels, registry=registry), labels, Gauge.set

    def tell(name: str, amount: float, labels: Mapping[str, str]) -> None:
        metric, names, act = made[name]
        act(metric.labels(*[labels[each] for each in names]) if names else metric, amount)

    def stop() -> None:
        for metric, _, _ in made.values():
            registry.unregister(metric)

    return Way(tell, stop)


def to_opentelemetry(metrics: Metrics, meter: Meter | None, scope: str) -> Way:
    """With *meter*, or the global one of *scope*.

    Needs `opentelemetry-api`: `pip install moreton[opentelemetry]`.
    """
    if meter is None:
        from opentelemetry.metrics import get_meter  # noqa: PLC0415 - optional

        meter = get_meter(scope)
    acts: dict[str, Callable[..., None]] = {}
    for name, (_, text) in metrics.counters.items():
        acts[name] = meter.create_counter(name, description=text).add
    for name, (_, text) in metrics.histograms.items():
        acts[name] = meter.create_histogram(name, unit="s", description=text).record
    for name, (_, text) in metrics.gauges.items():
        acts[name] = meter.create_gauge(name, description=text).set

    def tell(name: str, amount: float, labels: Mapping[str, str]) -> None:
        acts[name](amount, labels)

    return Way(tell, lambda: None)


class FirstValues:
    """The first `VALUES_MAX` values that come of anything keep theirs; the rest are `OTHER`."""

    def __init__(self) -> None:
        self._known: dict[object, set[str]] = {}

    def bounded(self, of: object, value: str) -> str:
        """*value* of *of*, or `OTHER`."""
        known = self._known.setdefault(of, set())
        if value not in known and len(known) < VALUES_MAX:
            known.add(value)
        return value if value in known else OTHER
