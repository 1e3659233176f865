"""What elections and locks refuse, and how what was held is lost."""

from __future__ import annotations

from datetime import timedelta

from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.quantities import format_duration


class ElectionError(MoretonError):
    """The root of the errors of elections and locks."""


class TermLost(ElectionError):
    """The root of the two ways to lose what was held: as a leader, or as the holder of a lock."""

    retry = RetryAdvice.NOW

    def __init__(self, message: str, *, token: int, reason: str) -> None:
        self.token = token
        self.reason = reason
        super().__init__(message)


class LeadershipLost(TermLost):
    """This process led, and does not any more: another may lead already."""

    code = "election-leadership-lost"

    def __init__(self, *, what: str, token: int, reason: str) -> None:
        super().__init__(
            f"the leadership of {what} (token {token}) is lost, {reason}: what its leader did was "
            "cancelled, and what it still writes with that token is refused; campaign again",
            token=token,
            reason=reason,
        )


class LockLost(TermLost):
    """This process held a lock, and does not any more: another may hold it already."""

    code = "election-lock-lost"

    def __init__(self, *, what: str, token: int, reason: str) -> None:
        super().__init__(
            f"{what} (token {token}) is not held any more, {reason}: what was done under it was "
            "cancelled, and what is still written with that token is refused; begin again",
            token=token,
            reason=reason,
        )


class FencedOff(ElectionError):
    """A token that is out of date was used for a write."""

    code = "election-fenced-off"

    def __init__(self, *, what: str, token: int, current: int | None) -> None:
        self.token = token
        self.current = current
        held = "nobody holds it" if current is None else f"the token is {current} by now"
        super().__init__(
            f"token {token} of {what} is out of date, {held}: nothing was written; "
            "stop what was done with it and begin again"
        )


class StillHeld(ElectionError):
    """It did not become free within the time that was given for waiting."""

    code = "election-still-held"
    retry = RetryAdvice.AFTER

    def __init__(self, *, what: str, wait: timedelta, holder: bytes, token: int) -> None:
        self.holder = holder
        self.token = token
        shown = holder.decode(errors="backslashreplace")
        waited = f" after {format_duration(wait)}" if wait else ""
        super().__init__(
            f'{what} is held by "{shown}" (token {token}){waited}: it was not waited for any '
            "longer; try again later, or wait longer"
        )


class AlreadyHeld(ElectionError):
    """Who holds it, or waits for it, asked for it once more: it would wait for itself."""

    code = "election-already-held"

    def __init__(self, *, what: str) -> None:
        super().__init__(
            f"{what} is held or waited for by this very task or thread: it would wait for itself "
            "for ever, so it was not asked for again; pass on what is held, or let it go first"
        )
