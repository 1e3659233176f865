"""Waiting for a turn, written once for threads and for tasks."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from moreton.kernel.arguments import check_whole
from moreton.ratelimit.clocks import LimitClock
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.limit import NEVER
from moreton.ratelimit.errors import QueueFull, RateLimited

WAITING_MAX = 10_000
# Work that is under way may end at any time: how often a full limit on it is asked again.
ASK_AGAIN_NANOS = 10_000_000


@dataclass(frozen=True, slots=True)
class Ask:
    """Decide with this *patience*, and send the decision."""

    patience_nanos: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    nanos: int


Turn = Generator[Ask | Sleep, Decision | None, Decision]


class Queue:
    """Counts who waits in this process; at most *most*."""

    def __init__(self, most: int) -> None:
        check_whole("waiting_max", most, 0)
        self.most = most
        self.waiting = 0
        self._lock = Lock()

    @contextmanager
    def place(self, *, wanted: bool) -> Iterator[bool]:
        """Within: a place in the queue, if it is *wanted* and there is one."""
        with self._lock:
            found = wanted and self.waiting < self.most
            self.waiting += found
        try:
            yield found
        finally:
            if found:
                with self._lock:
                    self.waiting -= 1


def turn(queue: Queue, clock: LimitClock, wait_nanos: int, *, ahead: bool) -> Turn:
    """Ask, and sleep, until the turn has come; raises `RateLimited` where it is after *wait_nanos*.

    A limit that can be taken ahead gives its turns in the order in which they were asked for, and
    one sleep is enough. Another one is asked again when it said that it would be free, and so are
    all unless *ahead*: where work is counted a place is not to be held by one who waits.
    """
    until = clock.monotonic() + wait_nanos
    with queue.place(wanted=wait_nanos > 0) as queued:
        while True:
            left = max(0, until - clock.monotonic()) if queued else 0
            decision = yield Ask(left if ahead else 0)
            assert decision is not None
            if decision.allowed:
                if decision.delay_nanos:
                    yield Sleep(decision.delay_nanos)
                return decision
            if wait_nanos and not queued:
                raise QueueFull(decision)
            pause = _pause(decision)
            if pause == NEVER or pause > left:
                raise RateLimited(decision)
            yield Sleep(pause)


def _pause(decision: Decision) -> int:
    """How long until asking again can help."""
    if decision.retry_nanos == NEVER:
        return NEVER
    by = decision.refused_by
    held = any(one.limit.held for one in decision.standings if one.limit.name == by)
    return min(decision.retry_nanos, ASK_AGAIN_NANOS) if held else decision.retry_nanos
