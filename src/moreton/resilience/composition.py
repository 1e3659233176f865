"""Which layers make sense in which order, read from left (outside) to right (inside)."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.kernel.arguments import check_kind
from moreton.kernel.quantities import format_duration
from moreton.resilience.layers.bulkhead import Bulkhead
from moreton.resilience.layers.fallback import Fallback
from moreton.resilience.layers.hedge import Hedge
from moreton.resilience.layers.layer import Layer
from moreton.resilience.layers.retry import Retry
from moreton.resilience.layers.timeout import Timeout, TotalTimeout


def check(layers: Sequence[Layer]) -> None:
    """Raise `ValueError` with the reason when *layers* cannot be meant in this order."""
    if not layers:
        raise ValueError("a policy without layers does nothing; give at least one")
    for layer in layers:
        check_kind("a layer", layer, Layer, "Retry(…), Timeout(…) and their like")
    _check_repeats(layers)
    for place, layer in enumerate(layers):
        _check_one(layer, layers[:place], layers[place + 1 :])
    _check_limits(layers)


def _check_repeats(layers: Sequence[Layer]) -> None:
    for kind, why in (
        (Retry, "their attempts would multiply; keep one"),
        (TotalTimeout, "only the shorter one has an effect; keep that"),
        (Fallback, "the inner one leaves nothing to the outer one; keep one"),
    ):
        if sum(isinstance(layer, kind) for layer in layers) > 1:
            raise ValueError(f"there are two layers of the kind {kind.__name__}: {why}")
    if len({id(layer) for layer in layers}) < len(layers):
        raise ValueError(
            "the same layer is there twice: a call would wait for itself, and count twice; give "
            "two layers, or one"
        )


def _check_one(layer: Layer, outer: Sequence[Layer], inner: Sequence[Layer]) -> None:
    retry_outside = any(isinstance(one, Retry) for one in outer)
    retry_inside = next((one for one in inner if isinstance(one, Retry)), None)
    if isinstance(layer, TotalTimeout) and retry_outside:
        raise ValueError(
            "TotalTimeout is inside Retry: it would limit each attempt, not the whole; put it to "
            "the left of Retry, or use Timeout"
        )
    if isinstance(layer, Timeout) and not layer.total and retry_inside is not None:
        raise ValueError(
            "Timeout is outside Retry: it would limit all attempts together; use TotalTimeout "
            "there, or put it to the right of Retry"
        )
    if isinstance(layer, Fallback) and outer:
        raise ValueError(
            f"Fallback is inside {type(outer[-1]).__name__}, which would take its answers for "
            "successes; put it first"
        )
    if isinstance(layer, Bulkhead) and retry_inside is not None and retry_inside.budget is None:
        raise ValueError(
            "Retry without a budget is inside Bulkhead: calls that wait for their next attempt "
            "would hold all slots in an outage; put Bulkhead to the right of Retry, or give the "
            "retries a budget"
        )
    if isinstance(layer, Hedge) and retry_inside is not None:
        raise ValueError(
            "Retry is inside Hedge: every hedge would be retried on its own; put Hedge to the "
            "right of Retry"
        )


def _check_limits(layers: Sequence[Layer]) -> None:
    total = next((one for one in layers if isinstance(one, TotalTimeout)), None)
    each = next((one for one in layers if isinstance(one, Timeout) and not one.total), None)
    hedge = next((one for one in layers if isinstance(one, Hedge)), None)
    if total is not None and each is not None and each.limit >= total.limit:
        raise ValueError(
            f"Timeout({format_duration(each.limit)}) never takes effect within "
            f"TotalTimeout({format_duration(total.limit)}); make it shorter"
        )
    limit = each or total
    if hedge is not None and limit is not None and hedge.after >= limit.limit:
        raise ValueError(
            f"Hedge after {format_duration(hedge.after)} never takes effect within "
            f"{format_duration(limit.limit)}; make it shorter"
        )
