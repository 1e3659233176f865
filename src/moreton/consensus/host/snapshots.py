"""Snapshots on their way: taken here, received from the leader, sent to whoever lags."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace

from moreton.consensus.core.events import (
    Receive,
    Restore,
    SnapshotReported,
    SnapshotTaken,
)
from moreton.consensus.core.messages import Entry, InstallSnapshot, SnapshotMeta
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host.driver import Driver
from moreton.consensus.host.errors import SnapshotRefused
from moreton.consensus.host.replicated.state import Replicated
from moreton.consensus.host.settings import HostSettings
from moreton.consensus.ports import Disk, Transport


class Snapshots:
    """Everything about snapshots of one running host; slow work runs beside the event loop."""

    def __init__(
        self,
        disk: Disk,
        transport: Transport,
        *,
        driver: Driver,
        replicated: Replicated,
        settings: HostSettings,
        newest: SnapshotMeta,
        failed: Callable[[Exception], None],
    ) -> None:
        self.newest = newest  # that is on the disk
        self.error: Exception | None = None  # why the last one was not taken
        self._disk = disk
        self._transport = transport
        self._driver = driver
        self._replicated = replicated
        self._settings = settings
        self._failed = failed
        self._entries = self._bytes = 0  # applied since the newest
        self._taking: asyncio.Task[SnapshotMeta] | None = None
        self._installing = False
        self._arrived: tuple[SnapshotMeta, bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def count(self, entry: Entry) -> None:
        """*entry* was applied: take a snapshot if it is time."""
        self._entries += 1
        self._bytes += len(entry.data)

    def take_if_due(self) -> None:
        """Take a snapshot if enough was applied since the last."""
        settings = self._settings
        due = self._entries >= settings.snapshot_entries or self._bytes >= settings.snapshot_bytes
        if due and self._taking is None:
            self._begin(self._take_logged())

    async def take(self) -> SnapshotMeta:
        """Take one now; whoever asks while one is being taken gets that one."""
        if self._taking is None:
            self._taking = asyncio.create_task(self._take())
            self._taking.add_done_callback(self._taken)
        return await asyncio.shield(self._taking)

    def install(self, message: InstallSnapshot, data: bytes) -> None:
        """A snapshot arrived: keep it, then let the core decide on it."""
        status = self._driver.node.status()
        if message.term < status.term or message.snapshot.index <= status.committed:
            self._driver.tell(Receive(message))  # the core will not take it, and says why
        elif not self._installing:
            self._installing = True
            self._begin(self._install(message, data))

    def send(self, message: InstallSnapshot) -> None:
        """Send *message* with the data of the newest snapshot."""
        self._begin(self._send(message))

    def restore(self, effect: Restore) -> None:
        """The core took the snapshot that arrived: become it."""
        index = effect.snapshot.index
        if self._arrived is None or self._arrived[0].index != index:
            raise SnapshotRefused(index=index, reason="its data are not here")
        data, self._arrived = self._arrived[1], None
        self._replicated.restore(index, data, effect.snapshot.configuration)
        self._entries = self._bytes = 0

    def remember(self, snapshot: SnapshotMeta, data: bytes) -> None:
        """*data* is what `restore` shall find."""
        self._arrived = (snapshot, data)

    async def close(self) -> None:
        """Let what is under way end: nothing may write when the folder is unlocked."""
        tasks = [*self._tasks, *([self._taking] if self._taking else [])]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_logged(self) -> None:
        try:
            await self.take()
            self.error = None
        except Exception as error:  # noqa: BLE001 - also what the machine's `freeze` raises
            # The log goes on without it, and it is tried again when as much was applied anew; if
            # the disk itself has failed, the next write says so.
            self.error = error

    async def _take(self) -> SnapshotMeta:
        index = self._driver.applied
        if index <= self.newest.index:
            return self.newest
        snapshot = self._driver.node.describe_snapshot(index)
        self._entries = self._bytes = 0
        write_out = self._replicated.freeze()
        await asyncio.to_thread(lambda: self._disk.write_snapshot(snapshot, write_out()))
        self._note(snapshot)
        self._driver.tell(SnapshotTaken(snapshot))
        return snapshot

    def _note(self, snapshot: SnapshotMeta) -> None:
        if snapshot.index > self.newest.index:
            self.newest = snapshot

    def _taken(self, task: asyncio.Task[SnapshotMeta]) -> None:
        self._taking = None
        if not task.cancelled():
            task.exception()  # whoever waits sees it; nobody needs to

    async def _install(self, message: InstallSnapshot, data: bytes) -> None:
        snapshot = message.snapshot
        try:
            await asyncio.to_thread(self._disk.write_snapshot, snapshot, data)
        except ConsensusError as error:
            self._failed(error)
            return
        finally:
            self._installing = False
        self._note(snapshot)
        self.remember(snapshot, data)
        self._driver.tell(Receive(message))
        # If the log got there meanwhile the core takes it for a snapshot of its own.
        if snapshot.index <= self._driver.node.status().committed:
            self._driver.tell(SnapshotTaken(snapshot))
        # After the turn in which it is restored, or not needed.
        asyncio.get_running_loop().call_soon(self._forget, data)

    def _forget(self, data: bytes) -> None:
        if self._arrived is not None and self._arrived[1] is data:
            self._arrived = None

    async def _send(self, message: InstallSnapshot) -> None:
        try:
            found = await asyncio.to_thread(self._disk.read_snapshot)
        except ConsensusError as error:
            self._failed(error)
            return
        if found is None or found[0].index < message.snapshot.index:
            self._driver.tell(SnapshotReported(message.target, arrived=False))
            return
        snapshot, data = found
        self._transport.send_snapshot_nowait(replace(message, snapshot=snapshot), data)
