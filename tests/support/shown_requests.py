"""Whoever is shown requests by an Envoy, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from moreton.envoy.core.copies import Shown
from moreton.envoy.showing import ShownServer
from moreton.strangler.compare.serving.collector import Collector
from support.waits import SECONDS, join_all


@contextlib.contextmanager
def listening(
    take: Callable[[Shown], None], lose: Callable[[str], None], socket: Path
) -> Iterator[None]:
    """What Envoys show at *socket* is told to *take*; the route of what is not whole to *lose*."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(SECONDS)

    server = ShownServer(take, lose)
    with contextlib.ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(join_all, [thread])
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        run(server.start(f"unix:{socket}"))
        stack.callback(lambda: run(server.stop()))
        yield


@contextlib.contextmanager
def collecting(collector: Collector, socket: Path) -> Iterator[None]:
    """The collector listens at *socket*; it is closed afterwards."""
    with contextlib.closing(collector), listening(collector.offer, collector.lose, socket):
        yield
