"""What a broker is: a log per topic, written at its end and read from a position on.

Consumers keep their position in their own database, in the transaction of what they did, so that a
broker needs neither acknowledgements nor redelivery, and an order that is kept at every failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

FRAMES_MAX = 64
"""How many messages one read hands over at most."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a topic: events in the JSON batch format. The first *position* is 1."""

    position: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Extent:
    """The positions that a topic has, both included; *last* < *first* when it has none.

    *epoch* is another one when the topic was deleted and made anew, so that positions begin again.
    """

    first: int
    last: int
    epoch: str


class Subscription(Protocol):
    """One reader of one topic."""

    async def read(self, wait: timedelta) -> Sequence[Frame]:
        """The next frames, without a gap, up to `FRAMES_MAX`; none if none came for *wait*."""
        ...

    async def close(self) -> None:
        """Stop reading."""
        ...


class Broker(Protocol):
    """Raises `BrokerUnavailable`; connects again by itself at the next call."""

    name: str

    async def publish(self, topic: str, body: bytes, id: str) -> None:  # noqa: A002 - what it is
        """Return once *body* is on disk, at the end of *topic*.

        When this raises it may be there all the same. Who publishes waits for the answer before
        the next one. *id* is another one each time.
        """
        ...

    async def subscribe(self, topic: str, after: int) -> Subscription:
        """Read *topic* from behind position *after*, 0 for its beginning."""
        ...

    async def extent(self, topic: str) -> Extent:
        """What there is of *topic*."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
