"""How many sagas are in each status and each queue, as metrics: those parked wait for a person."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from moreton.kernel.errors import MoretonError
from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.engine import Sagas

__all__ = ["export_prometheus"]


class _Counts(Collector):
    def __init__(self, sagas: Sagas) -> None:
        self._sagas = sagas

    def describe(self) -> Iterator[Metric]:
        yield from (_counts(), _queues(), _up())

    def collect(self) -> Iterator[Metric]:
        counts, queues, up = _counts(), _queues(), _up()
        try:
            found, entries = self._sagas.counts(), self._sagas.queues()
        except MoretonError:
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
            for status in Status:
                counts.add_metric([str(status)], found.get(status, 0))
            for entry in entries:
                queues.add_metric([entry.name, "running"], entry.running)
                queues.add_metric([entry.name, "waiting"], entry.waiting)
        yield from (counts, queues, up)


def _counts() -> GaugeMetricFamily:
    text = "Sagas in the log, by status; those that are parked wait for a person"
    return GaugeMetricFamily("moreton_sagas", text, labels=["status"])


def _queues() -> GaugeMetricFamily:
    text = "Sagas of each queue that an engine has, and that wait for a place"
    return GaugeMetricFamily("moreton_saga_queue", text, labels=["queue", "state"])


def _up() -> GaugeMetricFamily:
    return GaugeMetricFamily("moreton_sagas_up", "Whether the log of sagas could be asked")


def export_prometheus(sagas: Sagas, registry: CollectorRegistry = REGISTRY) -> None:
    """Have *registry* ask the open *sagas* for their counts whenever it is read."""
    registry.register(_Counts(sagas))
