"""Who is where: members, those who left a moment ago, and those that nobody told of yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

from moreton.consensus.core.messages import NodeId

# Nodes that prove themselves and that this node was not told of yet.
_INTRODUCED_MAX = 16


class Places:
    """The address book of node *own*; *removed* is called when a former member is to be cut off."""

    def __init__(self, own: NodeId, removed: Callable[[NodeId], None], *, delay: timedelta) -> None:
        self.members: dict[NodeId, str] = {}
        self._own = own
        self._on_removed = removed
        self._delay = delay
        self._introduced: dict[NodeId, str] = {}
        self._leaving: dict[NodeId, tuple[str, asyncio.TimerHandle]] = {}
        self._removed: set[NodeId] = set()

    def set_members(self, addresses: Mapping[NodeId, str], *, running: bool) -> list[NodeId]:
        """These are the members now; who of them is elsewhere than before.

        A node that starts goes through the memberships of its log, in which others are missing
        that joined later: so those who are gone are removed only if they stay so.
        """
        before, self.members = self.members, dict(addresses)
        moved = [node for node, at in addresses.items() if (self._find(node, before) or at) != at]
        self._removed -= addresses.keys()
        for node in addresses:
            self._introduced.pop(node, None)
            if node in self._leaving:
                self._leaving.pop(node)[1].cancel()
        if running:
            for node in before.keys() - addresses.keys() - {self._own}:
                seconds = self._delay.total_seconds()
                timer = asyncio.get_running_loop().call_later(seconds, self._remove, node)
                self._leaving[node] = before[node], timer
        return moved

    def introduce(self, node: NodeId, address: str) -> bool:
        """*node*, which nobody told of, says that it is at *address*; false if that is no news."""
        if self.address(node) or not address or len(self._introduced) >= _INTRODUCED_MAX:
            return False
        self._introduced[node] = address
        return True

    def forget_introduced(self, node: NodeId) -> bool:
        """*node* has hung up; false if it is known by now."""
        return self._introduced.pop(node, None) is not None

    def address(self, node: NodeId) -> str:
        """Where *node* is; empty if nobody knows."""
        return self._find(node, self.members)

    def is_removed(self, node: NodeId) -> bool:
        """Whether *node* belonged to the cluster and does not any more."""
        return node in self._removed

    def close(self) -> None:
        """Nobody is removed any more."""
        for _, timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()

    def _find(self, node: NodeId, members: Mapping[NodeId, str]) -> str:
        if node in members:
            return members[node]
        if node in self._leaving:
            return self._leaving[node][0]
        return self._introduced.get(node, "")

    def _remove(self, node: NodeId) -> None:
        del self._leaving[node]
        self._removed.add(node)
        self._on_removed(node)
