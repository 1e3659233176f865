"""Adds up what requests of one process did, and says what is known of their endpoints."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from moreton.strangler.agent.core.effects import Effect, Harmless, harmless_because
from moreton.strangler.agent.core.standing import Standing, judge
from moreton.strangler.agent.errors import EffectsUnreadable
from moreton.strangler.agent.recording import into
from moreton.strangler.agent.sqlite import ENDPOINTS_MAX, Effects, Tally

# What other processes saw is known after it; what nobody saw before is told at once.
FLUSH_SECONDS = 1.0
_log = logging.getLogger("moreton.agent")


class Ledger:
    """The evidence as one process has it: its own at once, that of the others a second later.

    A request that did what none to its endpoint was seen to do is in the file before it is
    answered. While the file cannot be written, nothing is safe; no request ever fails of it.
    """

    def __init__(
        self,
        effects: Effects,
        *,
        release: str,
        seen_min: int,
        harmless: Sequence[Harmless],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._effects = effects
        self._release = release
        self._seen_min = seen_min
        self._harmless = tuple(harmless)
        self._clock = clock
        self._lock = threading.Lock()
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)
        atexit.register(self.flush)

    def _begin_anew(self) -> None:
        """A child counts what it does itself; its parent tells what it did."""
        self._lock = threading.Lock()
        self._pending: dict[str, Tally] = {}
        self._known: dict[str, tuple[int, int]] = {}
        self._told: set[tuple[str, Effect]] = set()
        self._fresh_until = 0.0
        self._trouble = False

    def settle(self, endpoint: str, effects: Mapping[Effect, str]) -> Standing:
        """One request to *endpoint* was handled, with *effects*: what is known of it now."""
        judged = [
            (one, text, harmless_because(one, self._harmless)) for one, text in effects.items()
        ]
        wrote = any(not because for _, _, because in judged)
        with self._lock:
            urgent = self._add(endpoint, judged, seen=1, wrote=wrote)
            if urgent or self._clock() >= self._fresh_until:
                self._flush()
            return Standing.WROTE if wrote else self._standing(endpoint)

    def add_late(self, endpoint: str, effect: Effect, example: str) -> None:
        """A request that was settled did more."""
        because = harmless_because(effect, self._harmless)
        with self._lock:
            if self._add(endpoint, [(effect, example, because)], seen=0, wrote=not because):
                self._flush()

    def flush(self) -> None:
        """Tell the file what it was not told; whatever stands in the way."""
        with self._lock:
            if self._pending:
                self._flush()

    def standing(self, endpoint: str) -> Standing:
        """What is known of *endpoint*."""
        with self._lock:
            return self._standing(endpoint)

    def _standing(self, endpoint: str) -> Standing:
        seen, wrote = self._known.get(endpoint, (0, 0))
        mine = self._pending.get(endpoint)
        if mine is not None:
            seen, wrote = seen + mine.seen, wrote + mine.wrote
        found = judge(seen=seen, wrote=wrote, seen_min=self._seen_min)
        return Standing.UNKNOWN if self._trouble and found is Standing.SAFE else found

    def _add(
        self, endpoint: str, judged: Sequence[tuple[Effect, str, str]], *, seen: int, wrote: bool
    ) -> bool:
        """Whether the file is to be told at once."""
        tally = self._pending.get(endpoint)
        if tally is None:
            if len(self._pending) >= ENDPOINTS_MAX:
                return False
            tally = self._pending[endpoint] = Tally()
        tally.seen += seen
        tally.wrote += wrote
        urgent = False
        for effect, example, because in judged:
            tally.add(effect, example, because)
            if (endpoint, effect) not in self._told:
                urgent = True
        return urgent

    def _flush(self) -> None:
        # What keeping evidence does is nobody's effect, and noting it would wait for this lock.
        with into(None):
            self._exchange()

    def _exchange(self) -> None:
        pending = self._pending
        self._fresh_until = self._clock() + FLUSH_SECONDS
        try:
            if pending:
                self._effects.add(self._release, pending, datetime.now(UTC))
                self._pending = {}
                if len(self._told) < ENDPOINTS_MAX * 10:
                    self._told |= {
                        (name, one) for name, each in pending.items() for one in each.effects
                    }
            self._known = self._effects.known(self._release)
        except EffectsUnreadable as error:
            if not self._trouble:
                with suppress(Exception):
                    _log.warning("%s", error)
            self._trouble = True
        else:
            self._trouble = False
