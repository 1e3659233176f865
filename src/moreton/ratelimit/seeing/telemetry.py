"""Decisions as metrics, for Prometheus and OpenTelemetry: the same names in both.

The number of series is bounded: that of the rules by the tally, four verdicts, two modes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry

from moreton.kernel.telemetry.exporting import Metrics, Way, to_opentelemetry, to_prometheus
from moreton.ratelimit.seeing.tally import TALLY, Noted, Tally

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

DECISIONS = "moreton_limit_decisions"
_TEXT = "Decisions of rules on rates, by verdict; in mode shadow what it would have been"
DEGRADED = "moreton_limit_degraded"
_DEGRADED_TEXT = "Decisions that were made while the store of the limits could not be asked"
_METRICS = Metrics(
    {DECISIONS: (("rule", "verdict", "mode"), _TEXT), DEGRADED: (("rule",), _DEGRADED_TEXT)}
)


def export_prometheus(
    registry: CollectorRegistry = REGISTRY, *, tally: Tally = TALLY
) -> Callable[[], None]:
    """Count every decision from now on in *registry*; call what comes back to stop.

    Raises `ValueError` when *registry* has these metrics already.
    """
    return _export(to_prometheus(_METRICS, registry), tally)


def export_opentelemetry(meter: Meter | None = None, *, tally: Tally = TALLY) -> Callable[[], None]:
    """Count every decision from now on with *meter* (the global one); call what comes back to stop.

    Needs `opentelemetry-api`: `pip install moreton[opentelemetry]`.
    """
    return _export(to_opentelemetry(_METRICS, meter, "moreton.ratelimit"), tally)


def _export(way: Way, tally: Tally) -> Callable[[], None]:
    def listen(one: Noted) -> None:
        labels = {"rule": one.rule, "verdict": str(one.verdict), "mode": one.mode}
        way.tell(DECISIONS, 1, labels)
        if one.degraded:
            way.tell(DEGRADED, 1, {"rule": one.rule})

    def stop() -> None:
        tally.unsubscribe(listen)
        way.stop()

    tally.subscribe(listen)
    return stop
