"""What rate limiting raises."""

from __future__ import annotations

from datetime import timedelta

from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.ratelimit.core.decision import Decision
from moreton.resilience.errors import Refused


class RateLimited(Refused):
    """A limit does not let a call pass; its `decision` says which one, why, and when it is free."""

    code = "rate-limited"

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision

    @property
    def retry_in(self) -> timedelta | None:
        """When asking again can help; `None` for a cost above the limit."""
        return self.decision.retry_in

    def __str__(self) -> str:
        return f"{self.decision.explain()}; the call was not made"


class QueueFull(RateLimited):
    """As many as may wait for their turn wait already."""

    code = "rate-limit-queue-full"

    def __str__(self) -> str:
        return "as many calls as may wait for a limit wait already: the call was not made"


class HeldBack(Refused):
    """A destination asked to be left alone for longer than a call may wait; it was not made."""

    code = "rate-limit-held-back"

    def __init__(self, destination: str, seconds: float) -> None:
        super().__init__(destination, seconds)
        self.destination = destination

    @property
    def retry_in(self) -> timedelta:
        """When it may be asked again."""
        return timedelta(seconds=self.args[1])

    def __str__(self) -> str:
        return (
            f"{self.destination} asked to be left alone for {self.args[1]:.3g} s, which is longer "
            "than the call may wait: it was not made"
        )


class LimitsUnreadable(MoretonError):
    """The file that processes share their limits in cannot be used."""

    code = "limits-unreadable"


class LimitStoreUnavailable(MoretonError):
    """The store of the limits did not answer within the time budget, or refused."""

    code = "limit-store-unavailable"
    retry = RetryAdvice.AFTER


class RateLimitServerNotStarted(MoretonError):
    """The rate limit service cannot listen where it is to."""

    code = "rate-limit-server-not-started"
