"""A control plane whose store nobody shares; and what any control plane is called."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moreton.controlplane.following import Noting, in_background, keep_following

_HOSTNAME_ODD = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(slots=True)
class Alone:
    """A control plane whose store nobody shares: its own leader."""

    name: str
    api: str = ""

    def document(self) -> dict[str, Any]:
        """What `/v1/status` says of nodes."""
        return {"name": self.name, "leader": self.name, "token": None, "shared": False, "nodes": []}

    def serve(self, api: str, certificate: Path | None) -> None:  # noqa: ARG002 - as of `Nodes`
        """There is nobody to tell."""
        self.api = api

    def is_leader(self) -> bool:
        """Always."""
        return True

    def places(self) -> tuple[str, list[str]]:
        """Where this node is, as `host:port`: as the leader, and as the only one."""
        own = urlsplit(self.api).netloc
        return own, [own]

    def count(self) -> int:
        """One."""
        return 1


def node_name(configured: str | None) -> str:
    """The node's name: as *configured*, else the machine's."""
    return configured or _HOSTNAME_ODD.sub("-", os.uname().nodename).strip("-._") or "node"


def alone(
    keep_history: Callable[[], Awaitable[None]], troubles: Noting
) -> AbstractAsyncContextManager[None]:
    """What is to be done once for all nodes, in the background, where there is only one."""

    async def keep(is_fine: Callable[[], None]) -> None:
        is_fine()
        await keep_history()

    what = "writing down what happens to instances"
    return in_background(keep_following(keep, what=what, troubles=troubles), name=what)
