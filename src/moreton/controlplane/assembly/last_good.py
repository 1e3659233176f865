"""Keeps the last good configuration on disk, so that an Envoy can start cold without us.

`moreton up --last-good` serves what every proxy had applied when it was written.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from moreton.controlplane.assembly.plane import Plane
from moreton.controlplane.settings import Settings
from moreton.envoy.core.resources import Snapshot
from moreton.envoy.last_good import LastGood
from moreton.envoy.static import static_bootstrap

# Written once nothing has changed for so long: writing costs some 0.1 ms a route.
QUIET_SECONDS = 3.0
FOLDER = "last-good"
_TROUBLE = "last good configuration"


async def keep_last_good(plane: Plane, folder: Path, *, group: str) -> None:
    """Save into *folder*/last-good whenever all proxies have applied something new."""
    publisher = plane.publisher
    written: Snapshot | None = None
    while True:
        changed = publisher.next_change()
        snapshot = publisher.compiled.snapshot
        if snapshot is written or not publisher.settled:
            await changed.wait()
            continue
        await asyncio.sleep(QUIET_SECONDS)
        if publisher.compiled.snapshot is not snapshot or not publisher.settled:
            continue
        keys = _key_files(plane.settings)
        with contextlib.suppress(OSError), plane.troubles.watching(_TROUBLE):
            await asyncio.to_thread(_write, snapshot, folder, group, keys)
        # After a failure the next try comes with the next change: the disk is full, not slow.
        written = snapshot


def _key_files(settings: Settings) -> dict[str, str]:
    """The key of each certificate, so that Envoy reads both from their files."""
    return {
        listener.tls.certificate: listener.tls.key
        for gateway in settings.gateways.values()
        for listener in gateway.listeners
        if listener.tls is not None
    }


def _write(snapshot: Snapshot, folder: Path, group: str, keys: dict[str, str]) -> None:
    bootstrap = static_bootstrap(
        snapshot,
        node=f"{group}-cold",
        group=group,
        admin_socket=folder / "admin.sock",
        secret_files=keys,
    )
    LastGood(folder / FOLDER).save(bootstrap)
