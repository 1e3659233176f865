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


class StopSignals:
    """What signals said so far."""

    def __init__(self) -> None:
        self.told: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()
        self.hurry = asyncio.Event()

    def tell(self, how: Stop) -> None:
        """The first signal says how to stop, the next one not to wait for open requests."""
        if self.told.done():
            self.hurry.set()
        else:
            self.told.set_result(how)

    def leaves(self, *, otherwise: bool) -> bool:
        """Whether Envoy and the services are to go on; *otherwise* when nothing was said."""
        return self.told.result() is Stop.LEAVE if self.told.done() else otherwise


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Signals say how to stop, instead of what they do by default."""
    loop = asyncio.get_running_loop()
    signals = StopSignals()
    for number, how in _SIGNALS.items():
        loop.add_signal_handler(number, signals.tell, how)
    try:
        yield signals
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
