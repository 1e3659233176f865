"""The collector beside the control plane: runs while moreton.yaml has something compared."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from moreton.controlplane.life.asking import Helper, asked, helped
from moreton.controlplane.life.places import state_of
from moreton.controlplane.life.stopping import StopSignals
from moreton.controlplane.settings import Settings
from moreton.envoy.process.folder import EnvoyFolder

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane

_PREVENTS = "nothing is compared"


def copies_socket(settings: Settings) -> Path:
    """Where the collector listens, and Envoy shows requests."""
    return EnvoyFolder(state_of(settings) / "envoy").sockets / "copies.sock"


def differences_file(settings: Settings) -> Path:
    """Where this node's collector keeps what it finds."""
    return state_of(settings) / "compare" / "differences.sqlite"


def collects(settings: Settings) -> bool:
    """Whether something of *settings* may be compared."""
    return any(live.may_copy for live in settings.comparisons.values())


@contextlib.asynccontextmanager
async def helpers(plane: Plane, signals: StopSignals) -> AsyncIterator[None]:
    """Within the block the processes beside the control plane are kept: this, and for limits."""
    collector = Helper(plane, "compare", "collector of copies", _PREVENTS, collects, _command)
    async with asked(plane, signals), helped(collector, signals):
        yield


def _command(settings: Settings) -> list[str]:
    command = [sys.executable, "-m", "moreton.cli.main", "compare", "serve"]
    command += ["--listen", f"unix:{copies_socket(settings)}"]
    command += ["--file", str(differences_file(settings))]
    return [*command, "--config", str(settings.path.absolute())]
