"""The replica in a running node: what the log does to it is shown to watches and to writers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from moreton.consensus.ports import StateMachine
from moreton.store.core.changes import Change, LeaseRevoked, Written
from moreton.store.core.state import State
from moreton.store.raft.core.replica import Done, Replica
from moreton.store.raft.core.snapshot import freeze, thaw
from moreton.store.watching import WatchHub


class Follower(Protocol):
    """Who must know what becomes of the replica."""

    def on_done(self, done: Done) -> None:
        """A command was carried out, and its changes are shown."""
        ...

    def on_restored(self) -> None:
        """The replica was replaced by a newer one: commands between were not seen here."""
        ...


class StoreMachine(StateMachine):
    """What the host of consensus applies the log to. Used from one event loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.replica = Replica()
        self.hub = WatchHub(self.replica.state, loop)
        self._followers: list[Follower] = []

    @property
    def state(self) -> State:
        """Keys, history and leases, as far as this node has got."""
        return self.replica.state

    def tell(self, follower: Follower) -> None:
        """Call *follower* from now on."""
        self._followers.append(follower)

    def apply(self, index: int, command: bytes) -> object:
        """As `StateMachine.apply`."""
        del index
        done = self.replica.apply(command)
        for change in done.changes:
            self._show(change)
        for follower in self._followers:
            follower.on_done(done)
        return done.answer

    def freeze(self) -> Callable[[], bytes]:
        """As `StateMachine.freeze`; copies one reference for each key and each change kept."""
        return freeze(self.replica).encode

    def restore(self, snapshot: bytes) -> None:
        """As `StateMachine.restore`."""
        self.replica = thaw(snapshot)
        self.hub.replace(self.replica.state)
        for follower in self._followers:
            follower.on_restored()

    def _show(self, change: Change) -> None:
        match change:
            case Written(batch):
                self.hub.publish(batch)
            case LeaseRevoked(_, batch):
                if batch is not None:
                    self.hub.publish(batch)
            case _:
                pass
