"""A program that works until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
from collections.abc import Awaitable, Callable


def run_until_told(serve: Callable[[], Awaitable[None]], stop: Callable[[], None]) -> None:
    """Run *serve*, on uvloop where it is there; SIGTERM and SIGINT call *stop*.

    Signals are left alone where this is not the main thread.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, stop)
            except (ValueError, RuntimeError, NotImplementedError):
                break  # another thread, or a system without them
        await serve()

    loop_factory = None
    with contextlib.suppress(ImportError):
        loop_factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
