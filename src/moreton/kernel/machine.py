"""The one shape of everything that has a life over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from moreton.kernel.time import Instant

EventT_contra = TypeVar("EventT_contra", contravariant=True)
EffectT_co = TypeVar("EffectT_co", covariant=True)


class Machine(Protocol[EventT_contra, EffectT_co]):
    """A synchronous state machine: events and the time go in, effects come out.

    It performs nothing itself: no I/O, no clock, no randomness beyond an `Rng` it was given.
    Its host calls `wake` once `deadline` has passed, and performs effects in the order given.
    """

    def handle(self, event: EventT_contra, now: Instant) -> Sequence[EffectT_co]:
        """What follows from *event* happening at *now*."""
        ...

    def wake(self, now: Instant) -> Sequence[EffectT_co]:
        """What follows from the time being *now*; harmless when nothing is due."""
        ...

    def deadline(self) -> Instant | None:
        """When to call `wake` next; `None` while only an event can change anything."""
        ...
