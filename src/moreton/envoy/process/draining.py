"""Letting an Envoy finish what it has before it ends."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer

_POLL_SECONDS = 0.05
# Nobody asked anything for so long: an idle connection is kept for later, not for an answer.
_QUIET_SECONDS = 0.25
# The part of the time in which connections are still accepted, so that a load balancer in front
# has noticed. The rest is for the requests that were accepted last.
_ACCEPTING_SHARE = 0.8


async def drain(admin: AdminClient, length: timedelta) -> None:
    """Return once nothing is under way in the Envoy of *admin*, or after *length*.

    Envoy's health checks fail and every answer closes its connection; new connections are still
    taken until it was quiet for a moment, or most of the time is over. An Envoy that does not
    answer has nothing to finish.
    """
    whole = length.total_seconds()
    with contextlib.suppress(EnvoyDoesNotAnswer, TimeoutError):
        async with asyncio.timeout(whole):
            await admin.fail_healthcheck()
            await admin.drain_listeners(graceful=True, skip_exit=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(whole * _ACCEPTING_SHARE):
                    await _wait_quiet(admin)
            await admin.drain_listeners()
            await _wait_quiet(admin)


async def _wait_quiet(admin: AdminClient) -> None:
    """Return once no connection is open, or no request was under way for a moment."""
    quiet = 0.0
    while quiet < _QUIET_SECONDS:
        connections, requests = await admin.activity()
        if connections == 0:
            return
        quiet = 0.0 if requests else quiet + _POLL_SECONDS
        await asyncio.sleep(_POLL_SECONDS)
