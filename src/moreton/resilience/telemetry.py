"""Events as metrics, for Prometheus and OpenTelemetry: the same names in both.

The number of series is bounded: `VALUES_MAX` different names of layers, and `other` for the rest.
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
from moreton.resilience.core.breaker import BreakerState
from moreton.resilience.events import (
    BreakerChanged,
    CallRefused,
    Event,
    FellBack,
    Hedged,
    RetryScheduled,
    RetryStopped,
    TimedOut,
    subscribe,
    unsubscribe,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

# Name -> its labels and what it counts.
COUNTERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "moreton_retries": (("name",), "Attempts after the first"),
    "moreton_retries_stopped": (("name", "why"), "Calls that were not tried again, by reason"),
    "moreton_calls_refused": (("name", "code"), "Calls that a layer did not make"),
    "moreton_breaker_changes": (("name", "state"), "Changes of a circuit breaker, by new state"),
    "moreton_timeouts": (("name",), "Calls given up for their time"),
    "moreton_hedges": (("name",), "Second calls that were started"),
    "moreton_fallbacks": (("name",), "Answers given by a fallback"),
}
# Event -> its counter, and the field that is a label too.
_MEASURES: Mapping[type[Event], tuple[str, str | None]] = {
    RetryScheduled: ("moreton_retries", None),
    RetryStopped: ("moreton_retries_stopped", "why"),
    CallRefused: ("moreton_calls_refused", "code"),
    BreakerChanged: ("moreton_breaker_changes", "state"),
    TimedOut: ("moreton_timeouts", None),
    Hedged: ("moreton_hedges", None),
    FellBack: ("moreton_fallbacks", None),
}
_STATE = "moreton_breaker_state"
_STATE_TEXT = "The state of a circuit breaker: 0 closed, 1 half-open, 2 open"
_METRICS = Metrics(COUNTERS, gauges={_STATE: (("name",), _STATE_TEXT)})
_STATES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


def measurement(event: Event) -> tuple[str, dict[str, str]]:
    """The counter that *event* adds one to, and its labels."""
    counter, field = _MEASURES[type(event)]
    labels = {"name": event.name}
    if field is not None:
        labels[field] = str(getattr(event, field))
    return counter, labels


def export_prometheus(registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Count every event from now on in *registry*; call what comes back to stop.

    Raises `ValueError` when *registry* has these metrics already.
    """
    return _export(to_prometheus(_METRICS, registry))


def export_opentelemetry(meter: Meter | None = None) -> Callable[[], None]:
    """Count every event from now on with *meter* (the global one); call what comes back to stop.

    Needs `opentelemetry-api`: `pip install moreton[opentelemetry]`.
    """
    return _export(to_opentelemetry(_METRICS, meter, "moreton.resilience"))


def _export(way: Way) -> Callable[[], None]:
    first = FirstValues()

    def listen(event: Event) -> None:
        name, labels = measurement(event)
        labels["name"] = first.bounded("name", labels["name"])
        way.tell(name, 1, labels)
        if isinstance(event, BreakerChanged):
            way.tell(_STATE, _STATES[event.state], {"name": labels["name"]})

    def stop() -> None:
        unsubscribe(listen)
        way.stop()

    subscribe(listen)
    return stop
