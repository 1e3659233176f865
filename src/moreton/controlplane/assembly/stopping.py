"""How the control plane is told to stop, and in which way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from enum import StrEnum


class Stop(StrEnum):
    """What happens to Envoy and to the services that `run:` started."""

    DRAIN = "drain"  # SIGTERM, SIGINT: open requests finish, then everything stops
    LEAVE = "leave"  # SIGHUP: both go on, for the next `moreton up` to adopt


_SIGNALS = {
    signal.SIGTERM: Stop.DRAIN,
    signal.SIGINT: Stop.DRAIN,
    signal.SIGHUP: Stop.LEAVE,
}


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Future[Stop]]:
    """The first signal that says to stop, instead of what signals do by default."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[Stop] = loop.create_future()

    def tell(how: Stop) -> None:
        if not told.done():
            told.set_result(how)

    for number, how in _SIGNALS.items():
        loop.add_signal_handler(number, tell, how)
    try:
        yield told
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
