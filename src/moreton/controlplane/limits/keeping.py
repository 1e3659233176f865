"""Keeps gateways at the bans that hold: when one is made, taken back, edited, or ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from moreton.controlplane.limits.orders import LimitOrders
from moreton.ratelimit.core.rules.bans import in_force
from moreton.ratelimit.core.rules.values import Ban

# Clocks are set: however far an end is, it is looked for again.
_LOOK_SECONDS_MAX = 60.0
# So much later than its end a ban is looked at, so that it is over.
_SPARE_SECONDS = 0.01


class BanKeeper:
    """Tells *publish* of the bans of *orders* and of the file, whenever others hold."""

    def __init__(
        self,
        orders: LimitOrders,
        in_file: Callable[[], Iterable[Ban]],
        publish: Callable[[list[Ban]], None],
    ) -> None:
        self._orders = orders
        self._in_file = in_file
        self._publish = publish
        self._changed = asyncio.Event()
        orders.on_change(self.touch)

    def touch(self) -> None:
        """Others may hold now."""
        self._publish([*self._in_force(), *self._orders.bans])
        self._changed.set()

    async def run(self) -> None:
        """Look again when the next ban ends; until cancelled."""
        while True:
            self._changed.clear()
            self._publish([*self._in_force(), *self._orders.bans])
            end = self._orders.next_end(self._in_file())
            seconds = _LOOK_SECONDS_MAX
            if end is not None:
                left = (end - datetime.now(UTC)).total_seconds() + _SPARE_SECONDS
                seconds = min(max(left, _SPARE_SECONDS), seconds)
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _in_force(self) -> list[Ban]:
        now = datetime.now(UTC)
        return [ban for ban in self._in_file() if in_force(ban, now)]
