"""Which of several routes or limits a proxy refuses, when its refusal of them does not say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moreton.controlplane.publishing.ports import Preflight, Tried

# Halves are tried two at a time: a preflight is a process of its own.
_AT_ONCE = 2


async def find_culprits(tried: Sequence[Tried], preflight: Preflight) -> dict[str, str]:
    """The names of those, all of one kind, that are refused by themselves, each with the reason.

    Halves what is refused until single ones are left: k culprits among n cost about
    2 k log2(n) preflights. Empty when each passes by itself.
    """
    limit = asyncio.Semaphore(_AT_ONCE)

    async def search(part: Sequence[Tried]) -> dict[str, str]:
        async with limit:
            reason = await preflight(part)
        if not reason:
            return {}
        if len(part) == 1:
            return {part[0].name: reason}
        middle = len(part) // 2
        halves = await asyncio.gather(search(part[:middle]), search(part[middle:]))
        return halves[0] | halves[1]

    return await search(tried) if tried else {}
