"""What transactions do as metrics, for Prometheus and OpenTelemetry: the same names in both.

The number of series is bounded: each label keeps its first `VALUES_MAX` values, and `other` for the
rest. What is in doubt is told by `moreton.transactions.twophase.telemetry`; spans need no call,
see `moreton.transactions.tracing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry

from moreton.kernel.telemetry.exporting import (
    FirstValues,
    Metrics,
    Way,
    to_opentelemetry,
    to_prometheus,
)
from moreton.transactions.measuring import subscribe, unsubscribe

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

# Name -> its labels and what it counts.
COUNTERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "moreton_outbox_events": (("topic",), "Events that a relay has handed to its broker"),
    "moreton_outbox_messages": (("topic",), "Messages in which they were handed over"),
    "moreton_outbox_failures": (("topic",), "Times that a relay had to wait for database, broker"),
    "moreton_outbox_fenced": (("topic",), "Writes of a relay refused, as another one works"),
    "moreton_inbox_events": (
        ("consumer", "outcome"),
        "Events that arrived: handled, known already, set aside, dead",
    ),
    "moreton_inbox_failures": (("consumer",), "Times that a consumer had to wait"),
    "moreton_inbox_fenced": (("consumer",), "Work of a consumer refused, as another one works"),
    "moreton_saga_begun": (("saga",), "Sagas that were begun here"),
    "moreton_saga_rested": (("saga", "status"), "Sagas that ended here, or were parked"),
    "moreton_saga_steps": (("saga", "step", "op", "outcome"), "Calls of steps and undoings"),
    "moreton_tcc_transactions": (("state",), "TCC transactions, by how they stood when left"),
    "moreton_tcc_calls": (("participant", "act", "reply"), "Calls to participants of TCC"),
    "moreton_twophase_transactions": (
        ("outcome",),
        "Transactions over several databases: committed, pending, one_phase, rolled_back, unknown",
    ),
    "moreton_barrier_calls": (("act", "verdict"), "Calls that asked a barrier, by its verdict"),
}
HISTOGRAMS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "moreton_inbox_delay_seconds": (
        ("consumer",),
        "From the writing of the oldest event of a batch, by its time, to its commit here",
    ),
    "moreton_saga_step_seconds": (("saga", "step", "op"), "What calls of steps took"),
    "moreton_tcc_seconds": ((), "What TCC transactions took, up to where they were left"),
    "moreton_twophase_seconds": ((), "From the first promise to the last commit"),
}
METRICS = Metrics(COUNTERS, HISTOGRAMS)


def export_prometheus(registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Count everything from now on in *registry*; call what comes back to stop.

    Raises `ValueError` when *registry* has these metrics already.
    """
    return _export(to_prometheus(METRICS, registry))


def export_opentelemetry(meter: Meter | None = None) -> Callable[[], None]:
    """Count everything from now on with *meter* (the global one); call what comes back to stop.

    Needs `opentelemetry-api`: `pip install moreton[opentelemetry]`.
    """
    return _export(to_opentelemetry(METRICS, meter, "moreton.transactions"))


def _export(way: Way) -> Callable[[], None]:
    first = FirstValues()

    def listen(name: str, amount: float, labels: Mapping[str, str]) -> None:
        way.tell(name, amount, {k: first.bounded((name, k), v) for k, v in labels.items()})

    def stop() -> None:
        unsubscribe(listen)
        way.stop()

    subscribe(listen)
    return stop
