"""Decisions as metrics, for Prometheus and OpenTelemetry: the same names in both.

The number of series is bounded: that of the rules by the tally, four verdicts, two modes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter

from moreton.ratelimit.seeing.tally import TALLY, Noted, Tally

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

DECISIONS = "moreton_limit_decisions"
_TEXT = "Decisions of rules on rates, by verdict; in mode shadow what it would have been"
DEGRADED = "moreton_limit_degraded"
_DEGRADED_TEXT = "Decisions that were made while the store of the limits could not be asked"
_LABELS = ("rule", "verdict", "mode")


def export_prometheus(
    registry: CollectorRegistry = REGISTRY, *, tally: Tally = TALLY
) -> Callable[[], None]:
    """Count every decision from now on in *registry*; call what comes back to stop.

    Raises `ValueError` when *registry* has these metrics already.
    """
    counter = Counter(DECISIONS, _TEXT, _LABELS, registry=registry)
    degraded = Counter(DEGRADED, _DEGRADED_TEXT, ["rule"], registry=registry)

    def listen(one: Noted) -> None:
        counter.labels(one.rule, str(one.verdict), one.mode).inc()
        if one.degraded:
            degraded.labels(one.rule).inc()

    def stop() -> None:
        tally.unsubscribe(listen)
        registry.unregister(counter)
        registry.unregister(degraded)

    tally.subscribe(listen)
    return stop


def export_opentelemetry(meter: Meter | None = None, *, tally: Tally = TALLY) -> Callable[[], None]:
    """Count every decision from now on with *meter* (the global one); call what comes back to stop.

    Needs `opentelemetry-api`: `pip install moreton[opentelemetry]`.
    """
    if meter is None:
        from opentelemetry.metrics import get_meter  # noqa: PLC0415 - optional

        meter = get_meter("moreton.ratelimit")
    counter = meter.create_counter(DECISIONS, description=_TEXT)
    degraded = meter.create_counter(DEGRADED, description=_DEGRADED_TEXT)

    def listen(one: Noted) -> None:
        counter.add(1, {"rule": one.rule, "verdict": str(one.verdict), "mode": one.mode})
        if one.degraded:
            degraded.add(1, {"rule": one.rule})

    tally.subscribe(listen)
    return lambda: tally.unsubscribe(listen)
