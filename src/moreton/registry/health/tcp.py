"""The TCP probe: a connection that has to be accepted."""

from __future__ import annotations

import asyncio

from moreton.registry.core.checks import TcpProbe
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckStatus
from moreton.registry.health.looking import Finding, where


async def look_tcp(instance: Instance, probe: TcpProbe) -> Finding:
    """Whether a connection is accepted; nothing is sent."""
    host, port = where(instance, probe.target)
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return Finding(CheckStatus.PASSING, f"{host}:{port} accepts connections")
