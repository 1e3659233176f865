"""Refusals that are remembered, so that who is refused for a while costs no trip meanwhile."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Lock
from typing import Any

from moreton.kernel.arguments import check_duration
from moreton.kernel.time import nanos_of
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.limit import NEVER

REMEMBERED_MAX = 10_000
# All are looked through for those that have ended, which takes a millisecond, so often at most.
SWEEP_NANOS = 100_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One question; without its patience it is what a refusal is remembered by."""

    keys: tuple[str, ...]
    cost: int
    patience: int = 0
    share: float = 1.0
    what: str = "decide"
    taken: tuple[int, ...] = ()
    brief: bool = False  # why it was allowed nobody wants to know

    @property
    def question(self) -> tuple[Any, ...]:
        """What a refusal answers."""
        return self.keys, self.cost, self.share


class Refusals:
    """The refusal of each question for as long as it holds, up to *most*.

    Another process that gives something back is seen that much later.
    """

    def __init__(self, most: timedelta) -> None:
        check_duration("remember", most, zero=True)
        self._most = nanos_of(most)
        self._known: dict[Hashable, tuple[int, int, Decision]] = {}
        self._sweep_at = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, question: Hashable, now: int, patience: int) -> Decision | None:
        """The refusal that still holds at *now* for one who would wait *patience*."""
        found = self._known.get(question)
        if found is None:
            return None
        until, free_at, decision = found
        if now >= until or now + patience >= free_at:
            return None
        return replace(decision, retry_nanos=free_at - now - patience)

    def add(self, question: Hashable, now: int, patience: int, decision: Decision) -> None:
        """*decision* refused *question* at *now*."""
        if decision.retry_nanos == NEVER or not self._most:
            return
        free_at = now + decision.retry_nanos + patience
        with self._lock:
            if len(self._known) >= REMEMBERED_MAX and now >= self._sweep_at:
                self._sweep_at = now + SWEEP_NANOS
                self._known = {key: one for key, one in self._known.items() if one[0] > now}
            if len(self._known) < REMEMBERED_MAX:
                self._known[question] = (min(free_at, now + self._most), free_at, decision)

    def forget(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()
