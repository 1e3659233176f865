"""This node among those that share its store: what it tells, what it knows of them, who leads."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moreton import __version__
from moreton.controlplane.assembly.plane import Plane
from moreton.controlplane.assembly.sources import definitions
from moreton.controlplane.cluster.caring import caring_duties
from moreton.controlplane.cluster.duties import Duty, Leadership, compaction
from moreton.controlplane.cluster.home import Home, Peer
from moreton.controlplane.cluster.presence import Presence
from moreton.controlplane.cluster.roster import Roster
from moreton.controlplane.core.fingerprints import digest_of, fingerprints
from moreton.controlplane.core.nodes import Node
from moreton.election import Term
from moreton.kernel.time import SystemClock

_REJECTED_MAX = 20
_REASON_CHARS_MAX = 300
# All hashes are one value in the store, which takes 1.5 MiB.
_PRINTS_MAX = 10_000


class Nodes:
    """This node, called *name*, and the others; `enter`, then `running`.

    *folder* is the state folder, which remembers where the others' APIs are.
    """

    def __init__(
        self, plane: Plane, *, name: str, home: Home, folder: Path, duties: Sequence[Duty]
    ) -> None:
        self.name = name
        self._plane = plane
        self._home = home
        self._folder = folder
        self._api = self._certificate = ""
        self._applied = 0
        self._settings: object = None
        self._prints: Mapping[str, str] = {}
        self._configuration = ""
        store, troubles = plane.store, plane.troubles
        self._presence = Presence(
            store,
            about=self._about,
            objects=lambda: self._prints,
            clock=SystemClock(),
            troubles=troubles,
        )
        self._roster = Roster(store, troubles=troubles, on_change=self._remember_peers)
        self._leadership = Leadership(store, name=name, duties=duties, troubles=troubles)
        plane.control.share(self._roster)
        plane.drains.share(name, self._roster, self._presence.touch)

    async def enter(self) -> None:
        """Be one of the nodes. Raises `NodeNameTaken`, and the store's errors."""
        await self._take_prints()
        await self._presence.enter()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell and follow in the background; at the end the others know at once that we left."""
        work = {
            "presence": self._presence.run(),
            "roster": self._roster.run(),
            "observe leader": self._leadership.observe(),
            "lead": self._leadership.run(),
            "listen": self._listen(),
        }
        tasks = [asyncio.create_task(each, name=name) for name, each in work.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def serve(self, api: str, certificate: Path | None) -> None:
        """From now on clients reach this node at *api*."""
        self._api = api
        if certificate is not None:
            with contextlib.suppress(OSError):
                self._certificate = certificate.read_text()
        self._presence.touch()

    def document(self) -> dict[str, Any]:
        """What `/v1/status` says of nodes."""
        seen, leader = self._plane.follower.revision, self._leadership.leader
        return {
            "name": self.name,
            "leader": None if leader is None else leader.value.decode(errors="replace"),
            "token": None if leader is None else leader.token,
            "shared": True,
            "revision": seen,
            "nodes": [
                {
                    k: v
                    for k, v in asdict(node).items()
                    if k not in {"home", "certificate", "leaving"}
                }
                for node in self._roster.nodes()
            ],
        }

    def is_leader(self) -> bool:
        """Whether this node leads now."""
        return self._leadership.is_leader

    def places(self) -> tuple[str, list[str]]:
        """Where the leader is, empty when that is not known, and all nodes, as `host:port`."""
        leader = self._leadership.leader
        name = "" if leader is None else leader.value.decode(errors="replace")
        apis = {node.name: urlsplit(node.api).netloc for node in self._roster.nodes() if node.api}
        return apis.get(name, ""), sorted(apis.values())

    def count(self) -> int:
        """How many nodes live, as far as this one knows."""
        return len(self._roster.nodes())

    def _about(self) -> Node:
        publisher = self._plane.publisher
        if publisher.settled:
            self._applied = self._plane.follower.revision
        refused = sorted(publisher.refused.items())[:_REJECTED_MAX]
        return Node(
            name=self.name,
            home=self._home.id,
            pid=os.getpid(),
            host=os.uname().nodename,
            version=__version__,
            api=self._api,
            certificate=self._certificate,
            configuration=self._configuration,
            applied=self._applied,
            rejected={str(key): each.reason[:_REASON_CHARS_MAX] for key, each in refused},
            leaving=self._plane.drains.told(),
        )

    async def _listen(self) -> None:
        """Tell whenever something came into force, was refused or was edited."""
        plane = self._plane
        while True:
            events = (plane.publisher.next_change(), plane.follower.next_move())
            await plane.publisher.wait_published()
            await self._take_prints()
            self._presence.touch()
            waits = [asyncio.ensure_future(each.wait()) for each in events]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()

    async def _take_prints(self) -> None:
        settings = self._plane.settings
        if settings is not self._settings:
            prints = await asyncio.to_thread(lambda: fingerprints(definitions(settings)))
            self._settings, self._configuration = settings, digest_of(prints)
            few = len(prints) <= _PRINTS_MAX
            self._prints = prints if few else {"everything": self._configuration}

    def _remember_peers(self) -> None:
        others = [
            Peer(node.name, node.api, node.certificate)
            for node in self._roster.nodes()
            if node.api and node.name != self.name
        ]
        home = self._home.with_peers(others)
        if home != self._home:
            self._home = home
            with contextlib.suppress(OSError):  # on a full disk commands know fewer addresses
                home.write(self._folder)


def duties_for(plane: Plane, url: str) -> list[Duty]:
    """What the leader of the nodes at the store *url* has to do.

    An etcd keeps its history until it is told otherwise. One that has a prefix for us is
    someone else's, who has his own ideas about that.
    """
    parts = urlsplit(url)
    own_etcd = parts.scheme in {"etcd", "etcds"} and parts.path in {"", "/"}
    own = [compaction(plane.store)] if own_etcd else []
    return [*own, _history(plane), *caring_duties(plane)]


def _history(plane: Plane) -> Duty:
    """The duty to write down what happens to instances, and to forget what is old."""

    async def keep(term: Term) -> None:
        await plane.keep_history(term.write)

    return keep
