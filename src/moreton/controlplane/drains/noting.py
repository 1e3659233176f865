"""What is written down of drains."""

from __future__ import annotations

import contextlib

from moreton.controlplane.drains.host import Drains
from moreton.registry.core.history import Event, EventKind
from moreton.registry.history import History
from moreton.store.errors import StoreError

_WHY = "every proxy knows, no request is under way"


async def note_drained(drains: Drains, history: History, service: str, instance_id: str) -> None:
    """Write down that nothing is sent to an instance any more, the first time."""
    leaving = drains.note_idle(service, instance_id)
    if leaving is None:
        return
    instance = leaving.instance
    by = instance.source if instance.order is None else instance.order.by
    place = instance.endpoint
    event = Event(history.now(), EventKind.DRAINED, service, instance_id, place, by, _WHY)
    with contextlib.suppress(StoreError):  # it is so, whether somebody can read it later or not
        await history.add(event)
