"""Spans of OpenTelemetry, linked across services by W3C trace context.

Where the program uses no OpenTelemetry nothing is loaded, made or sent: `pip install
moreton[opentelemetry]`, and set up a provider as for the rest of it. The context travels in
the CloudEvents attributes `traceparent` and `tracestate` of events, in `Call.headers` and in the
`headers` of a saga's run.

Source: W3C, Trace Context; CNCF, CloudEvents, distributed tracing extension.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from moreton.transactions.barrier.call import HEADER_CHARS_MAX, HEADERS

P = ParamSpec("P")
T = TypeVar("T")
# As OpenTelemetry's own default for the links of a span.
LINKS_MAX = 128
__all__ = ["HEADERS", "LINKS_MAX", "derived", "headers", "in_context", "is_on", "span"]
_NAME = "moreton.transactions"
_NOTHING: AbstractContextManager[Any] = contextlib.nullcontext()


def is_on() -> bool:
    """Whether the program uses OpenTelemetry: a span, or a provider, needs this module of it."""
    return "opentelemetry.trace" in sys.modules


def headers() -> dict[str, str]:
    """The context of the current span, for whoever goes on with its trace; empty without one."""
    found: dict[str, str] = {}
    if is_on():
        _propagator().inject(found)
    return {name: value for name, value in found.items() if len(value) <= HEADER_CHARS_MAX}


def span(
    name: str,
    kind: str = "internal",
    *,
    parent: Mapping[str, str] | None = None,
    links: Sequence[Mapping[str, str]] = (),
    attributes: Mapping[str, Any] | None = None,
) -> AbstractContextManager[Any]:
    """A span around a block; an exception that leaves it is recorded.

    *kind*: `internal`, `client`, `server`, `producer`, `consumer`. Its parent is the current span,
    or that of the headers *parent*; *links* are headers of others that it has to do with.
    """
    if not is_on():
        return _NOTHING
    from opentelemetry import trace  # noqa: PLC0415 - optional

    context = None if not parent else _propagator().extract(parent)
    found = (_span_context(each) for each in links[:LINKS_MAX])
    made: AbstractContextManager[Any] = trace.get_tracer(_NAME).start_as_current_span(
        name,
        context=context,
        kind=trace.SpanKind[kind.upper()],
        links=[trace.Link(one) for one in found if one.is_valid],
        attributes=attributes,
    )
    return made


def derived(*names: str) -> dict[str, str]:
    """The headers of a trace that everybody who knows *names* goes on with, without being told.

    Whether it is sampled is what the provider's sampler says of such an id, so that all processes
    which sample alike agree.
    """
    if not is_on():
        return {}
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()
    trace_id, span_id = digest[:32], digest[32:48]
    return {"traceparent": f"00-{trace_id}-{span_id}-{_flags(int(trace_id, 16), names[-1])}"}


def in_context(function: Callable[P, T]) -> Callable[P, T]:
    """*function*, for another thread, with the span that is current here."""
    return partial(copy_context().run, function) if is_on() else function


def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - optional
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator()


def _span_context(said: Mapping[str, str]) -> Any:
    from opentelemetry import trace  # noqa: PLC0415 - optional

    return trace.get_current_span(_propagator().extract(said)).get_span_context()


def _flags(trace_id: int, name: str) -> str:
    from opentelemetry import trace  # noqa: PLC0415 - optional

    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    if sampler is None:
        return "01"
    return "01" if sampler.should_sample(None, trace_id, name).decision.is_sampled() else "00"
