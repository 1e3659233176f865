"""What happens to requests while the store of their limits cannot be asked."""

from __future__ import annotations

from threading import Lock

# A store that did not answer is asked again so soon, by one request of all.
ASK_AGAIN_NANOS = 250_000_000


class Outage:
    """Knows whether the store may be asked: after a failure by one request at a time, now and then.

    So a store that is down or slow costs its time budget to a few requests a second, not to all.
    """

    __slots__ = ("_ask_at", "_down", "_lock", "failures")

    def __init__(self) -> None:
        self._down = False
        self._ask_at = 0
        self._lock = Lock()
        self.failures = 0

    @property
    def is_down(self) -> bool:
        """Whether the last one that asked failed."""
        return self._down

    def may_ask(self, now: int) -> bool:
        """Whether the store is asked at *now*; while it is down, only one may each time."""
        if not self._down:
            return True
        with self._lock:
            if now < self._ask_at:
                return False
            self._ask_at = now + ASK_AGAIN_NANOS
            return True

    def failed(self, now: int) -> bool:
        """Asking failed; whether this is news."""
        with self._lock:
            news = not self._down
            self._down = True
            self._ask_at = now + ASK_AGAIN_NANOS
            self.failures += 1
            return news

    def answered(self) -> bool:
        """The store answered; whether this is news."""
        if not self._down:
            return False
        with self._lock:
            news, self._down = self._down, False
            return news
