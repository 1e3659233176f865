"""What can go wrong before a history is judged."""

from __future__ import annotations

from moreton.kernel.errors import MoretonError


class HistoryNotReadable(MoretonError):
    """A history's file cannot be read."""

    code = "history-not-readable"

    def __init__(self, *, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} cannot be read, {reason.lower()}: nothing is judged; give a file of JSON lines"
        )
