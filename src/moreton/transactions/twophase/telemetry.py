"""What a resolver found, as metrics for Prometheus: a few series for each participant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from moreton.transactions.twophase.core.doubts import Doubt
from moreton.transactions.twophase.resolver import Resolver

__all__ = ["export_prometheus"]


class _Found(Collector):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def collect(self) -> Iterator[Metric]:
        report = self._resolver.last
        found = [*report.waiting, *report.orphans]
        counts = Counter((one.prepared.participant, one.doubt) for one in found)
        names = self._resolver.participants
        doubts = GaugeMetricFamily(
            "moreton_indoubt_transactions",
            "Prepared transactions that have not ended; foreign and unknown ones are orphans",
            labels=["participant", "doubt"],
        )
        oldest = GaugeMetricFamily(
            "moreton_indoubt_oldest_seconds",
            "How long the oldest of them has held its locks",
            labels=["participant"],
        )
        reachable = GaugeMetricFamily(
            "moreton_indoubt_participant_up",
            "Whether the participant answered when it was last looked at",
            labels=["participant"],
        )
        for name in names:
            for doubt in Doubt:
                doubts.add_metric([name, str(doubt)], counts[name, doubt])
            ages = [one.prepared.age for one in found if one.prepared.participant == name]
            oldest.add_metric([name], max(ages).total_seconds() if ages else 0.0)
            reachable.add_metric([name], name not in report.unreachable)
        torn = GaugeMetricFamily(
            "moreton_torn_transactions", "Decided to commit, and rolled back at a participant"
        )
        torn.add_metric([], len(report.torn))
        yield from (doubts, oldest, reachable, torn)


def export_prometheus(resolver: Resolver, registry: CollectorRegistry = REGISTRY) -> None:
    """Tell *registry* what *resolver* found when it last looked."""
    registry.register(_Found(resolver))
