"""Keeps the last good configuration on disk, so that an Envoy can start cold without us.

`envoy -c .moreton/envoy/last-good.pb` serves what every proxy had applied when it was written.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from moreton.controlplane.assembly.troubles import Troubles
from moreton.controlplane.errors import StateFolderUnusable
from moreton.controlplane.publishing import Publisher
from moreton.envoy.core.resources import Snapshot
from moreton.envoy.static import static_bootstrap, write_last_good

# Written once nothing has changed for so long: writing costs some 0.1 ms a route.
QUIET_SECONDS = 3.0
FILE = "last-good.pb"
_TROUBLE = "last good configuration"


async def keep_last_good(
    publisher: Publisher, folder: Path, *, group: str, troubles: Troubles
) -> None:
    """Write `last-good.pb` into *folder* whenever all proxies have applied something new."""
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
        with contextlib.suppress(OSError, StateFolderUnusable), troubles.watching(_TROUBLE):
            await asyncio.to_thread(_write, snapshot, folder, group)
        # After a failure the next try comes with the next change: the disk is full, not slow.
        written = snapshot


def _write(snapshot: Snapshot, folder: Path, group: str) -> None:
    bootstrap = static_bootstrap(
        snapshot, node=f"{group}-cold", group=group, admin_socket=folder / "cold-admin.sock"
    )
    write_last_good(folder / FILE, bootstrap)
