"""What resilience raises: calls that were not made, and calls that took too long."""

from __future__ import annotations

from datetime import timedelta

from moreton.kernel.errors import MoretonError, RetryAdvice


class Refused(MoretonError):
    """A layer did not make the call at all, to protect the caller or the destination.

    *retry_in* is when it may help to ask again, where that is known.
    """

    code = "call-refused"
    retry = RetryAdvice.AFTER
    moreton_failure = False  # read by breakers

    @property
    def retry_in(self) -> timedelta | None:
        """When it may help to ask again; `None` when that is not known."""
        return None


class CircuitOpen(Refused):
    """The circuit breaker is open: its destination failed too often."""

    # Its arguments are the breaker's name and the seconds. The rest is made when it is read: an
    # open breaker answers many calls.
    code = "circuit-open"

    @property
    def retry_in(self) -> timedelta:
        """When the breaker lets calls try again."""
        return timedelta(seconds=max(0.0, self.args[1]))

    def __str__(self) -> str:
        name, seconds = self.args[0], max(0.0, self.args[1])
        return (
            f'circuit breaker "{name}" is open: the call was not made, as too many failed or '
            f"were slow; it lets calls try again in {seconds:.1f} s"
        )


class BulkheadFull(Refused):
    """Too many calls are under way already, and too many wait or this one waited too long."""

    code = "bulkhead-full"


class LimitReached(Refused):
    """More calls are under way than the destination can take at present."""

    code = "concurrency-limit-reached"


class Throttled(Refused):
    """The destination refuses most calls, so this one was held back."""

    code = "call-throttled"


class DeadlineExceeded(MoretonError, TimeoutError):
    """A call did not end in its time. It may have taken effect."""

    code = "deadline-exceeded"
    retry = RetryAdvice.AFTER
