"""Who may act alone: a lease that no clock but the observer's own decides on.

The lease is a row: who holds it, a token that grows with each holder, and a beat that the holder
adds to. Who sees the same token and beat for as long as the lease lasts takes it, by naming both.
Wall clocks play no part, so that one that jumps takes nothing from anybody. Two may believe for a
moment that they hold it: every write names its token, and the older one's is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from moreton.kernel.time import Instant

# A holder adds to the beat this often in the time that its lease lasts.
BEATS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """The row as it was read; no *holder*: free."""

    holder: str
    token: int
    beat: int


class Tenure:
    """One contender's view of a lease."""

    def __init__(self, ttl: timedelta) -> None:
        self.ttl = ttl
        self.token: int | None = None
        self._seen: Seen | None = None
        self._since = Instant(0)
        self._due = Instant(0)

    @property
    def due(self) -> Instant:
        """When to add to the beat, or to look again."""
        return self._due

    def saw(self, seen: Seen, now: Instant) -> bool:
        """Whether to take the lease that was just *seen*; if not, look again when `due`."""
        if seen != self._seen:
            self._seen, self._since = seen, now
        self._due = now + self.ttl / BEATS
        return not seen.holder or now - self._since >= self.ttl

    def took(self, token: int, now: Instant) -> None:
        """It is ours under *token*."""
        self.token, self._seen = token, None
        self.confirmed(now)

    def confirmed(self, now: Instant) -> None:
        """A write under our token succeeded, which is a beat."""
        self._due = now + self.ttl / BEATS

    def lost(self, now: Instant) -> None:
        """Another has it, or may have; look at once."""
        self.token = self._seen = None
        self._due = now
