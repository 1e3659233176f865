"""What happens to requests while the store of their limits cannot be asked."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from moreton.kernel.arguments import check_number

# A store that did not answer is asked again so soon, by one request of all.
ASK_AGAIN_NANOS = 250_000_000


@dataclass(frozen=True, slots=True)
class FailMode:
    """Refuse a share *refuse* of the requests, or all beyond a share *local* of the limits.

    `FailMode.open()` lets everything pass, `FailMode.closed()` nothing. With *local* this process
    decides alone by that share of each limit: with n processes 1 / n keeps the limit.
    """

    refuse: float = 0.0
    local: float | None = None

    def __post_init__(self) -> None:
        check_number("refuse", self.refuse, 0, 1, "it is a share of the requests")
        if self.local is not None:
            check_number("local", self.local, 0, 1, "it is a share of the limit", above=True)

    @classmethod
    def open(cls) -> FailMode:
        """Let everything pass."""
        return cls(0.0)

    @classmethod
    def closed(cls) -> FailMode:
        """Refuse everything."""
        return cls(1.0)

    @classmethod
    def share(cls, local: float) -> FailMode:
        """Decide alone, by the share *local* in (0, 1] of each limit."""
        return cls(local=local)


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
