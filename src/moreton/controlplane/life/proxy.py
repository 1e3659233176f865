"""Envoy's part in the life of the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from moreton.controlplane.life.loading import GROUP
from moreton.controlplane.life.stopping import StopSignals
from moreton.controlplane.settings import Settings
from moreton.envoy.supervisor import EnvoySupervisor

_LOG = logging.getLogger("moreton.controlplane")


def supervisor_of(settings: Settings, state: Path, binary: Path) -> EnvoySupervisor:
    """Who starts and keeps the Envoy of *settings*, with its files in the folder *state*."""
    return EnvoySupervisor(
        state / "envoy",
        binary=binary,
        group=GROUP,
        drain_time=settings.envoy.drain_time,
        concurrency=settings.envoy.concurrency,
    )


def waiting_at(path: Path) -> socket.socket:
    """Takes connections at *path* and answers none, until the xDS server listens there: close it.

    A proxy that finds nobody asks again ever more seldom, and would be late when all is loaded. One
    that is kept waiting and then hung up on asks again within 50 ms. Where there can be no such
    socket, it listens nowhere: proxies find nobody.
    """
    listening = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        listening.listen()
    return listening


async def begin_envoy(
    envoy: EnvoySupervisor, stack: AsyncExitStack, signals: StopSignals, *, found: bool
) -> socket.socket:
    """Adopt the Envoy that runs, or start one; at the end do with it what was told.

    It takes a while to come up, and then waits for its configuration at what is returned.
    *found*: one ran before. It served without us, so a failure of this start leaves it alone.
    """

    async def end() -> None:
        if signals.leaves(otherwise=found):
            _LOG.info("Envoy goes on serving; the next `moreton up` adopts it")
            await envoy.detach()
        else:
            _LOG.info("draining: open requests may finish, then Envoy stops")
            await _drain(envoy, signals.hurry)

    waiting = stack.enter_context(waiting_at(envoy.xds_socket))
    stack.push_async_callback(end)
    await envoy.start()
    return waiting


async def _drain(envoy: EnvoySupervisor, hurry: asyncio.Event) -> None:
    """Stop *envoy*; a second signal ends it without waiting for open requests."""
    stopping = asyncio.create_task(envoy.stop())
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait([stopping, hurried], return_when=asyncio.FIRST_COMPLETED)
    pid = envoy.statistics().pid
    if not stopping.done() and pid is not None:
        _LOG.warning("told twice: Envoy stops at once")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    hurried.cancel()
    await stopping
