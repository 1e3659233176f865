"""Envoy's part in the life of the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
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


async def begin_envoy(
    envoy: EnvoySupervisor, stack: AsyncExitStack, signals: StopSignals, *, found: bool
) -> None:
    """Adopt the Envoy that runs, or start one; at the end do with it what was told.

    It takes a while to come up, and then asks for its configuration until somebody answers.
    *found*: one ran before. It served without us, so a failure of this start leaves it alone.
    """

    async def end() -> None:
        if signals.leaves(otherwise=found):
            _LOG.info("Envoy goes on serving; the next `moreton up` adopts it")
            await envoy.detach()
        else:
            _LOG.info("draining: open requests may finish, then Envoy stops")
            await _drain(envoy, signals.hurry)

    stack.push_async_callback(end)
    await envoy.start()


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
