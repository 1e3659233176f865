"""How long to wait before a program that died is started again."""

from __future__ import annotations

from datetime import timedelta

from moreton.kernel.rng import Rng

_BASE = timedelta(milliseconds=50)
_CAP = timedelta(seconds=10)
_STABLE = timedelta(seconds=30)


class RestartBackoff:
    """Exponential with full jitter above half: the first restart is quick, a crash loop slow.

    A program that ran for 30 s counts as well again.
    """

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._failures = 0

    def next_delay(self, ran_for: timedelta) -> timedelta:
        """How long to wait after a run of *ran_for*; never above 10 s."""
        self._failures = 1 if ran_for >= _STABLE else self._failures + 1
        if self._failures == 1:
            return timedelta(0)
        ceiling = min(_CAP, _BASE * (1 << min(self._failures, 16)))
        return ceiling * self._rng.uniform(0.5, 1.0)
