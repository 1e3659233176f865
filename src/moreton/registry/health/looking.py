"""What a look is, and where to: shared by the probes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from moreton.registry.core.checks import Target
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckStatus
from moreton.registry.health.core.keeping import Answer

KNOCK_SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look found, and what it saw, for people."""

    status: CheckStatus
    output: str = ""


# Looks at an instance by a probe of one kind. May raise; its time is limited by who calls it.
Looking: TypeAlias = Callable[[Instance, Any], Awaitable[Finding]]


def where(instance: Instance, target: Target) -> tuple[str, int]:
    """Host and port to look at. Raises `LookupError` for a port that the instance has not."""
    host = target.host or instance.address
    if not target.port:
        return host, instance.port
    if isinstance(target.port, int):
        return host, target.port
    if target.port not in instance.ports:
        raise LookupError(f"it has no port named {target.port}")
    return host, instance.ports[target.port]


async def knock(instance: Instance) -> Answer:
    """Whether the instance's own port accepts a connection."""
    try:
        async with asyncio.timeout(KNOCK_SECONDS_MAX):
            _, writer = await asyncio.open_connection(instance.address, instance.port)
    except ConnectionRefusedError:
        return Answer.REFUSED
    except (OSError, TimeoutError):
        return Answer.SILENT
    writer.transport.abort()
    return Answer.OPEN
