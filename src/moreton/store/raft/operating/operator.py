"""Asking a cluster from one of its folders, whichever of its nodes run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Clock, SystemClock
from moreton.store.raft.errors import NodeUnreachable
from moreton.store.raft.folder import NodeFolder
from moreton.store.raft.operating.backup import Backup, write_backup
from moreton.store.raft.operating.guests import Guest
from moreton.store.raft.operating.making import peer_tls

T = TypeVar("T")
# A node that is there answers within a moment; a survey does not wait for others.
_LOOK = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Sight:
    """One node as it says that it is, or *why* it says nothing."""

    node: int
    address: str
    says: Mapping[str, Any] | None = None
    why: str = ""
    clock_seconds: float = 0.0  # how far its calendar time is ahead of ours


@dataclass(frozen=True, slots=True)
class Survey:
    """A whole cluster, seen from here. *leader* is the one that most recent term agrees on."""

    cluster: str
    sights: tuple[Sight, ...] = field(default_factory=tuple)

    @property
    def leader(self) -> Sight | None:
        """Who leads the newest term, if it answered."""
        leading = [one for one in self.sights if one.says and one.says["role"] == "leader"]
        return max(leading, key=lambda one: one.says["term"] if one.says else 0, default=None)


class Operator:
    """Somebody with access to the folder of a node. Raises the errors of the folder."""

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        found = NodeFolder(folder)
        self.who = found.node()
        self._secret = found.secret()
        self._clock = clock or SystemClock()

    async def ask(self, do: str, **values: object) -> dict[str, Any]:
        """What came of it: by this folder's node, else by the next that answers.

        Raises the error that the cluster answered with, `NodeUnreachable`, `SecretRefused`.
        """
        return await self._reached(lambda guest: guest.ask(do, **values))

    async def dismiss(self, node: int, *, at_any_risk: bool) -> None:
        """Let *node* go; asked of another than it, which may stop before it can answer."""
        values = {"node": node, "at_any_risk": at_any_risk}
        await self._reached(lambda guest: guest.ask("dismiss", **values), last=node)

    async def survey(self) -> Survey:
        """All nodes, asked at once. Raises `NodeUnreachable` if none of them answers."""
        addresses = {self.who.node: self.who.address, **self.who.peers}
        sights = await self._look(addresses)
        # Who answered may know of members that this folder was never told of.
        known: dict[int, str] = {}
        for one in sorted(sights.values(), key=_committed):
            if one.says is not None:
                known = {int(node): at for node, at in one.says["addresses"].items()} or known
        if not any(one.says for one in sights.values()):
            own = sights[self.who.node]
            raise NodeUnreachable(address=own.address, reason=own.why)
        missing = {node: at for node, at in known.items() if addresses.get(node) != at}
        sights |= await self._look(missing)
        shown = known or addresses
        return Survey(self.who.cluster, tuple(sights[node] for node in sorted(shown)))

    async def save(self, file: Path, progress: Callable[[int, int], None]) -> Backup:
        """Write a snapshot of the cluster to *file*. Raises `SnapshotNotWritten` too."""
        return await self._reached(lambda guest: self._save(guest, file, progress))

    async def _save(self, guest: Guest, file: Path, progress: Callable[[int, int], None]) -> Backup:
        held = await guest.ask("snapshot")
        backup = Backup(**held["backup"])
        parts = bytearray()
        progress(0, backup.size)
        async for part in guest.parts(held["token"], backup.size):
            parts += part
            progress(len(parts), backup.size)
        await asyncio.to_thread(write_backup, file, backup, bytes(parts))
        return backup

    async def _reached(self, ask: Callable[[Guest], Awaitable[T]], *, last: int = 0) -> T:
        unreached: NodeUnreachable | None = None
        places = {self.who.node: self.who.address, **self.who.peers}
        for node in sorted(places, key=lambda node: (node == last, node != self.who.node, node)):
            address = places[node]
            try:
                return await ask(self._guest(address))
            except NodeUnreachable as error:
                unreached = unreached or error
        assert unreached is not None, "at least this node was asked"
        raise unreached

    async def _look(self, addresses: Mapping[int, str]) -> dict[int, Sight]:
        looks = [self._look_at(node, address) for node, address in addresses.items()]
        return {one.node: one for one in await asyncio.gather(*looks)}

    async def _look_at(self, node: int, address: str) -> Sight:
        try:
            says = await self._guest(address, patience=_LOOK).ask("status")
        except MoretonError as error:
            return Sight(node, address, why=getattr(error, "reason", str(error)))
        if says["cluster"] != self.who.cluster:
            return Sight(node, address, why=f"a node of the cluster {says['cluster']} is there")
        if says["node"] != node:
            return Sight(node, address, why=f"node {says['node']} is there")
        ahead = datetime.fromisoformat(says["wall"]) - self._clock.wall()
        return Sight(node, address, says, clock_seconds=round(ahead.total_seconds(), 1))

    def _guest(self, address: str, *, patience: timedelta | None = None) -> Guest:
        tls = None if self.who.tls is None else peer_tls(self.who.tls)
        if patience is None:
            return Guest(address, self._secret, tls=tls, clock=self._clock)
        return Guest(address, self._secret, tls=tls, clock=self._clock, patience=patience)


def _committed(sight: Sight) -> int:
    return 0 if sight.says is None else int(sight.says["committed"])
