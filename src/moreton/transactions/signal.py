"""What one task waits for, for a time."""

from __future__ import annotations

import asyncio


class Signal:
    """Set by anybody on the loop, heard once by the one task that waits.

    An `asyncio.Event` under `asyncio.timeout` does the same; for each message that arrives it would
    take longer than to read it.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake who waits, or who will wait next."""
        self._is_set = True
        if self._waiting is not None:
            _wake(self._waiting)

    def clear(self) -> None:
        """Forget that it was set."""
        self._is_set = False

    async def wait(self, seconds: float) -> bool:
        """Return when it is set, or after *seconds*; whether it was set."""
        if not self._is_set:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = loop.call_later(seconds, _wake, self._waiting)
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        was, self._is_set = self._is_set, False
        return was


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
