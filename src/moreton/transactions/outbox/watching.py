"""Spans and metrics of relays and consumers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from moreton.kernel.time import Clock
from moreton.transactions import measuring, tracing
from moreton.transactions.outbox.core.event import Arrived, Event
from moreton.transactions.outbox.core.relaying import Row

_SYSTEM = {"messaging.system": "moreton"}
# Reading an event to find its trace would cost more than sending it.
_TRACE = re.compile(r'"traceparent":"([0-9a-f-]{55})"')


@contextlib.contextmanager
def sending(topic: str, rows: Sequence[Row]) -> Iterator[None]:
    """Around the sending of one message: linked to the traces that its events were written in."""
    if tracing.is_on():
        found = dict.fromkeys(each[1] for row in rows if (each := _TRACE.search(row.text)))
        attributes = {
            **_SYSTEM,
            "messaging.destination.name": topic,
            "messaging.batch.message_count": len(rows),
        }
        links = [{"traceparent": each} for each in list(found)[: tracing.LINKS_MAX]]
        with tracing.span(f"send {topic}", "producer", links=links, attributes=attributes):
            yield
    else:
        yield
    if measuring.listeners:
        measuring.measure("moreton_outbox_events", len(rows), topic=topic)
        measuring.measure("moreton_outbox_messages", topic=topic)


def processing(consumer: str, events: Sequence[Event]) -> AbstractContextManager[Any]:
    """Around a handler: goes on with the trace of its one event, or is linked to those of many."""
    if not tracing.is_on():
        return contextlib.nullcontext()
    said = [_trace(one) for one in events[: tracing.LINKS_MAX]]
    attributes = {
        **_SYSTEM,
        "messaging.consumer.group.name": consumer,
        "messaging.batch.message_count": len(events),
        "cloudevents.event_type": events[0].type,
    }
    if len(events) == 1:
        attributes["cloudevents.event_id"] = events[0].id
    name = f"process {events[0].type}"
    one = said[0] if len(events) == 1 else None
    return tracing.span(name, "consumer", parent=one, links=said, attributes=attributes)


def arrived(consumer: str, events: Sequence[Arrived], clock: Clock, **outcomes: int) -> None:
    """Count what became of a batch that is committed."""
    for outcome, count in outcomes.items():
        if count:
            measuring.measure("moreton_inbox_events", count, consumer=consumer, outcome=outcome)
    first = events[0] if events else None
    if isinstance(first, Event) and first.time:
        with contextlib.suppress(ValueError, TypeError):
            delay = clock.wall() - datetime.fromisoformat(first.time)
            seconds = max(delay.total_seconds(), 0.0)
            measuring.measure("moreton_inbox_delay_seconds", seconds, consumer=consumer)


def _trace(event: Event) -> dict[str, str]:
    said = {name: event.extensions.get(name) for name in tracing.HEADERS}
    return {name: value for name, value in said.items() if isinstance(value, str)}
