"""Prometheus metrics whose number of series does not grow with routes or instances.

Envoy's own counters are read over its admin socket and added up: per gateway always, per service
for the first `SERVICES_MAX` that were seen, together as `other` for the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# With nine series each they stay below half of the 2,000 that the whole may have.
SERVICES_MAX = 100
OTHER = "other"

_HTTP = r"^http\..*\.downstream_(rq_[1-5]xx|rq_active|cx_active|cx_total|rq_timeout)$"
_CLUSTER = (
    r"^cluster\..*\.upstream_(rq_[1-5]xx|rq_active|cx_active|cx_connect_fail|rq_timeout|rq_retry)$"
)
PATTERN = f"({_HTTP}|{_CLUSTER})"
_NAME = re.compile(r"(http|cluster)\.(.+)\.(?:downstream|upstream)_(\w+)")
_CLASS = re.compile(r"rq_([1-5]xx)")

_COUNTERS = {
    "cx_total": ("connections", "Connections accepted"),
    "rq_timeout": ("timeouts", "Requests that ran out of time"),
    "cx_connect_fail": ("connect_failures", "Connections that could not be made"),
    "rq_retry": ("retries", "Attempts after the first"),
}
_GAUGES = {
    "rq_active": ("requests_active", "Requests under way"),
    "cx_active": ("connections_active", "Open connections"),
}


class EnvoyTotals:
    """Envoy's counters, added up by gateway and by service."""

    def __init__(self) -> None:
        self._named: dict[str, None] = {}

    def collect(self, stats: Mapping[str, int], *, own: frozenset[str]) -> Iterator[Metric]:
        """Metrics from Envoy's *stats*; the clusters *own* are Moreton's and left out."""
        sums: dict[str, Counter[tuple[str, str]]] = {"http": Counter(), "cluster": Counter()}
        for name, value in stats.items():
            found = _NAME.fullmatch(name)
            if found is None or found[2] in own:
                continue
            who = found[2] if found[1] == "http" else self._label(found[2])
            sums[found[1]][who, found[3]] += value
        yield from _metrics("gateway", sums["http"])
        yield from _metrics("service", sums["cluster"])

    def _label(self, service: str) -> str:
        """The service's own name, for as long as there is room; it keeps it."""
        if service not in self._named and len(self._named) < SERVICES_MAX:
            self._named[service] = None
        return service if service in self._named else OTHER


def _metrics(kind: str, sums: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        f"moreton_{kind}_requests", f"Answered requests by {kind}", labels=[kind, "class"]
    )
    others: dict[str, Metric] = {}
    for (who, stat), value in sorted(sums.items()):
        code = _CLASS.fullmatch(stat)
        if code is not None:
            requests.add_metric([who, code[1]], value)
        elif stat in _COUNTERS:
            name, text = _COUNTERS[stat]
            family = CounterMetricFamily(f"moreton_{kind}_{name}", text, labels=[kind])
            others.setdefault(stat, family).add_sample(f"{family.name}_total", {kind: who}, value)
        elif stat in _GAUGES:
            name, text = _GAUGES[stat]
            gauge = GaugeMetricFamily(f"moreton_{kind}_{name}", text, labels=[kind])
            others.setdefault(stat, gauge).add_sample(gauge.name, {kind: who}, value)
    yield requests
    yield from others.values()


class Metrics:
    """The page `/metrics`."""

    def __init__(
        self,
        *,
        own: Callable[[], Iterable[tuple[str, str, Mapping[str, str], float]]],
        envoy: Callable[[str], Awaitable[Mapping[str, int]]],
        own_clusters: frozenset[str],
    ) -> None:
        """*own* yields name, help, labels, value; *envoy* reads the stats that match a regex."""
        self._own = own
        self._envoy = envoy
        self._own_clusters = own_clusters
        self._totals = EnvoyTotals()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    async def page(self) -> bytes:
        """Everything, in Prometheus' text format."""
        stats = await self._envoy(PATTERN)
        registry = CollectorRegistry()
        registry.register(_Fixed(list(self._totals.collect(stats, own=self._own_clusters))))
        registry.register(_Fixed(_gauges(self._own())))
        return bytes(generate_latest(self._process)) + bytes(generate_latest(registry))


class _Fixed(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics

    def describe(self) -> Iterable[Metric]:
        return []


def _gauges(values: Iterable[tuple[str, str, Mapping[str, str], float]]) -> list[Metric]:
    families: dict[str, Any] = {}
    for name, text, labels, value in values:
        if name not in families:
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            families[name] = family(name, text, labels=sorted(labels))
        families[name].add_metric([labels[label] for label in sorted(labels)], value)
    return list(families.values())
