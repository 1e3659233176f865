"""How clients that contend for one thing fare with each kind of back-off.

Clients read a version from a server and write it back, raised by one; only the first write of a
version succeeds, and who loses begins anew after its back-off. Optimistic locking, as databases and
object stores have it: the worst case for clients that return together.

Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015, and its simulator.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from types import MappingProxyType

from moreton.kernel.rng import seeded_rng
from moreton.resilience.core.backoff import Backoff, Jitter

_BASE = timedelta(milliseconds=5)
# The simulator's wait before retry n is base * 2**n, n from 1: its first ceiling is twice the base.
_FIRST = 2 * _BASE
_CAP = timedelta(seconds=2)
# One way through the network, in seconds: normal, never below zero.
_NETWORK_MEAN = 0.010
_NETWORK_DEVIATION = 0.002

# What the article compares; `None` tries again at once.
STRATEGIES: Mapping[str, Backoff | None] = MappingProxyType(
    {
        "none": None,
        "exponential": Backoff.exponential(_FIRST, cap=_CAP, jitter=Jitter.NONE),
        "equal jitter": Backoff.exponential(_FIRST, cap=_CAP, jitter=Jitter.EQUAL),
        "full jitter": Backoff.exponential(_FIRST, cap=_CAP, jitter=Jitter.FULL),
        "decorrelated jitter": Backoff.exponential(_BASE, cap=_CAP, jitter=Jitter.DECORRELATED),
    }
)


@dataclass(frozen=True, slots=True)
class ContentionResult:
    """Writes that were tried until all clients had succeeded, and when the last one had."""

    calls: float
    seconds: float


class _Client:
    """Reads, writes, and after a conflict backs off and begins anew."""

    __slots__ = ("_backoff", "_previous", "_rng", "attempts", "version")

    def __init__(self, backoff: Backoff | None, rng: Random) -> None:
        self._backoff = backoff
        self._rng = rng
        self._previous = 0.0
        self.attempts = 0
        self.version = 0

    def back_off(self) -> float:
        if self._backoff is None:
            return 0.0
        self._previous = self._backoff.seconds(self.attempts, self._rng, self._previous)
        return self._previous


def contend(clients: int, backoff: Backoff | None, *, seed: int = 0) -> ContentionResult:
    """*clients* that begin at the same moment, until each has written once.

    Raises `ValueError` if *clients* < 1.
    """
    if clients < 1:
        raise ValueError(f"clients is {clients}: give 1 or more")
    rng = seeded_rng(seed)
    version = calls = 0
    finished = 0.0
    # The number keeps events of the same moment in the order of their making.
    events = [(_network(rng), number, False, _Client(backoff, rng)) for number in range(clients)]
    heapq.heapify(events)
    order = clients
    while events:
        now, _, writes, client = heapq.heappop(events)
        # What arrives is answered at once; the answer, and what follows from it, travels again.
        back = now + _network(rng)
        if not writes:
            client.version = version
        else:
            calls += 1
            client.attempts += 1
            if client.version == version:
                version += 1
                finished = max(finished, back)
                continue
            back += client.back_off()
        order += 1
        heapq.heappush(events, (back + _network(rng), order, not writes, client))
    return ContentionResult(calls, finished)


def contend_often(
    clients: int, backoff: Backoff | None, *, seeds: Sequence[int]
) -> ContentionResult:
    """The means of `contend` over *seeds*."""
    results = [contend(clients, backoff, seed=seed) for seed in seeds]
    return ContentionResult(
        sum(one.calls for one in results) / len(results),
        sum(one.seconds for one in results) / len(results),
    )


def compare(clients: Sequence[int], *, seeds: Sequence[int]) -> dict[str, list[ContentionResult]]:
    """For each of `STRATEGIES` the result with each number of *clients*."""
    return {
        name: [contend_often(count, backoff, seeds=seeds) for count in clients]
        for name, backoff in STRATEGIES.items()
    }


def _network(rng: Random) -> float:
    return abs(rng.normalvariate(_NETWORK_MEAN, _NETWORK_DEVIATION))
