"""A program that works until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable


def run_until_told(serve: Callable[[], Awaitable[None]], stop: Callable[[], None]) -> None:
    """Run *serve*; SIGTERM and SIGINT call *stop*, where this is the main thread."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, stop)
            except (ValueError, RuntimeError, NotImplementedError):
                break  # another thread, or a system without them
        await serve()

    asyncio.run(main())
