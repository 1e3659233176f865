"""Which of several routes a proxy refuses, when its refusal of the table does not say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moreton.controlplane.publishing.ports import Preflight
from moreton.gateway.core.model import Route

# Halves are tried two at a time: a preflight is a process of its own.
_AT_ONCE = 2


async def find_culprits(routes: Sequence[Route], preflight: Preflight) -> dict[str, str]:
    """The names of the routes that are refused by themselves, each with the reason.

    Halves what is refused until single routes are left: k culprits among n routes cost about
    2 k log2(n) preflights. Empty when every route passes by itself.
    """
    limit = asyncio.Semaphore(_AT_ONCE)

    async def search(part: Sequence[Route]) -> dict[str, str]:
        async with limit:
            reason = await preflight(part)
        if not reason:
            return {}
        if len(part) == 1:
            return {part[0].name: reason}
        middle = len(part) // 2
        halves = await asyncio.gather(search(part[:middle]), search(part[middle:]))
        return halves[0] | halves[1]

    return await search(routes) if routes else {}
