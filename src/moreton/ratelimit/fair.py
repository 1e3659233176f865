"""Turns of one limit shared fairly among tenants, for tasks of one loop."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from moreton.kernel.arguments import check_kind
from moreton.ratelimit.core.fair import FairQueue
from moreton.ratelimit.errors import QueueFull
from moreton.ratelimit.limiter import Keys, Limiter

_HOUR = timedelta(hours=1)
_MOST = 1000


class FairTurns:
    """Who calls `acquire` waits for a turn of *limiter* at *keys*, in the order of fair shares.

    A tenant that asks for much waits behind itself; the others get their share by weight. At most
    *most* wait: beyond that the tenant with the most waiting gets `QueueFull` for its last one. A
    cost above 1 is charged when its turn has come, so that the next one waits for longer. For rates
    alone: nothing tells when work has ended.
    """

    def __init__(self, limiter: Limiter, keys: Keys = "", *, most: int = _MOST) -> None:
        check_kind("limiter", limiter, Limiter, "a limiter, as LocalLimiter(Gcra('50/s', 1))")
        for limit in limiter.limits:
            if limit.held:
                raise ValueError(
                    f"{limit.name} is a limit on work under way, which no turn would give back; "
                    "give a limit on a rate, as Gcra('50/s', 1)"
                )
        self._limiter = limiter
        self._keys = keys
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(most)
        self._serving: asyncio.Task[None] | None = None

    async def acquire(self, tenant: str, *, weight: float = 1.0, cost: int = 1) -> None:
        """Wait for the turn of *tenant*."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lost = self._queue.put(future, tenant, weight=weight, cost=cost)
        if lost is not None and not lost.item.done():
            lost.item.set_exception(QueueFull(self._limiter.decide(self._keys, 0)))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        await future

    async def _serve(self) -> None:
        """One turn after the other, for as long as somebody waits."""
        while len(self._queue):
            # First the turn, then who gets it: one that comes meanwhile may be due before others.
            try:
                await self._limiter.acquire_async(self._keys, wait=_HOUR)
            except Exception as error:  # noqa: BLE001 - whoever waits is told, not this task
                self._refuse(error)
                continue
            while (one := self._queue.pop()) is not None:
                if not one.item.done():
                    one.item.set_result(None)
                    if one.cost > 1:
                        await self._limiter.charge_async(self._keys, one.cost - 1)
                    break

    def _refuse(self, error: Exception) -> None:
        """The next one learns that there is no turn within an hour, or what is wrong."""
        one = self._queue.pop()
        if one is not None and not one.item.done():
            one.item.set_exception(error)
