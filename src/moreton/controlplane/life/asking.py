"""The rate limit service beside the control plane: started while a rule needs it, and kept running.

It is a process of its own that reads `moreton.yaml` itself: the control plane may be stopped or
killed, and limits hold on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moreton.controlplane.life.places import state_of
from moreton.controlplane.life.stopping import StopSignals
from moreton.controlplane.settings import Settings
from moreton.envoy.identity import (
    ProcessIdentity,
    Remembered,
    identify,
    read_remembered,
    write_identity,
)
from moreton.envoy.process.folder import EnvoyFolder
from moreton.envoy.process.logs import LogFile
from moreton.kernel.quantities import format_duration
from moreton.ratelimit.core.rules.values import Mode
from moreton.ratelimit.rls.core.facts import is_asked_for

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane

_LOG = logging.getLogger("moreton.controlplane")
_GRACE = timedelta(seconds=5)
# One that ends at once is started again so soon, and then less often.
_AGAIN_SECONDS = 0.25
_AGAIN_SECONDS_MAX = 10.0
_COMMAND = "command"


def asked_socket(settings: Settings) -> Path:
    """Where the service answers, and Envoy asks."""
    return EnvoyFolder(state_of(settings) / "envoy").sockets / "limits.sock"


def asks(settings: Settings) -> bool:
    """Whether a rule of *settings* needs the service."""
    rules = settings.limits.rules.values()
    return any(is_asked_for(rule) and rule.mode is not Mode.OFF for rule in rules)


@dataclass(slots=True)
class AskedService:
    """Keeps the service for *plane* running, whose `moreton.yaml` is *path*."""

    plane: Plane
    path: Path
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    async def keep(self) -> None:
        """Start it while it is needed, adopt one that runs, and stop it when it is not."""
        pause = _AGAIN_SECONDS
        while True:
            edited = asyncio.create_task(self.plane.next_edit().wait())
            waits: list[asyncio.Task[Any]] = [edited]
            if not asks(self.plane.settings):
                await self.stop()
            else:
                identity = await self._running()
                waits.append(asyncio.create_task(identity.wait_gone()))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
            if edited.done() and not edited.cancelled():
                pause = _AGAIN_SECONDS
                continue
            if self._child is not None:
                self._child.poll()
            _LOG.warning("the rate limit service ended; it is started again")
            await asyncio.sleep(pause)
            pause = min(_AGAIN_SECONDS_MAX, pause * 2)

    async def stop(self) -> None:
        """End it, if it runs."""
        found = read_remembered(self._file)
        if found is not None:
            await found.identity.end(_GRACE)
        self._file.unlink(missing_ok=True)
        if self._child is not None:
            self._child.poll()

    @property
    def _file(self) -> Path:
        return state_of(self.plane.settings) / "limits.json"

    async def _running(self) -> ProcessIdentity:
        """The one that runs as it should; one that runs otherwise is ended first."""
        command = self._command()
        found: Remembered | None = read_remembered(self._file)
        if found is not None and found.facts.get(_COMMAND) == "\n".join(command):
            return found.identity
        if found is not None:
            await found.identity.end(_GRACE)
        return self._begin(command)

    def _begin(self, command: list[str]) -> ProcessIdentity:
        log = LogFile(state_of(self.plane.settings) / "limits.log")
        log.bound()
        with log.path.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._child = child
        identity = identify(child.pid) or ProcessIdentity(child.pid, "", "")
        write_identity(self._file, identity, {_COMMAND: "\n".join(command)})
        _LOG.info("the rate limit service is process %d, it logs to %s", child.pid, log.path)
        return identity

    def _command(self) -> list[str]:
        settings = self.plane.settings
        counters = settings.limits.counters
        socket = asked_socket(settings)
        # Without a server the counts are in the memory of the machine, and outlive the process.
        store = counters.redis or str(socket.with_name("limits-counts"))
        command = [sys.executable, "-m", "moreton.cli.main", "limits", "serve"]
        command += ["--rules", str(self.path.absolute()), "--listen", f"unix:{socket}"]
        return [*command, "--store", store, "--budget", format_duration(counters.budget)]


@contextlib.asynccontextmanager
async def asked(plane: Plane, path: Path, signals: StopSignals) -> AsyncIterator[None]:
    """Within the block the service is kept; at the end it goes on when Envoy does."""
    service = AskedService(plane, path)
    keeping = asyncio.create_task(service.keep(), name="limits")
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        if not signals.leaves(otherwise=False):
            await service.stop()
