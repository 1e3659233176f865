"""What a node's shares need of its proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol


class Proxy(Protocol):
    """The proxy of this node."""

    def act(
        self, gateway: str, kept: Mapping[str, float], lent: Mapping[str, float], seconds: float
    ) -> None:
        """At *gateway* act by the shares *kept*, and for *seconds* by those *lent*, by limit."""
        ...

    def extend(self, gateway: str, seconds: float) -> None:
        """Act for *seconds* from now by what was lent."""
        ...

    def has_applied(self, gateway: str) -> bool:
        """Whether the proxy acts by what it was told last."""
        ...

    def next_change(self) -> asyncio.Event:
        """Set when it next takes something into force, or refuses it."""
        ...

    async def counters(self) -> Mapping[tuple[str, str], int] | None:
        """How much was asked so far, by gateway and limit; `None` when it cannot be told."""
        ...
