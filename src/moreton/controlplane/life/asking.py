"""The rate limit service beside the control plane: started while a rule needs it, and kept running.

It is a process of its own that reads `moreton.yaml` itself: the control plane may be stopped or
killed, and limits hold on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from moreton.controlplane.following import in_background
from moreton.controlplane.life.places import state_of
from moreton.controlplane.life.stopping import StopSignals
from moreton.controlplane.settings import Settings
from moreton.envoy.identity import ProcessIdentity, Remembered, read_remembered, write_identity
from moreton.envoy.process.ending import reap
from moreton.envoy.process.folder import EnvoyFolder
from moreton.envoy.process.logs import LogFile
from moreton.envoy.process.spawning import spawn_orphan
from moreton.kernel.errors import MoretonError
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
# One that runs for so long has begun, and is no trouble any more.
_STEADY_SECONDS = 5.0
_COMMAND = "command"


def asked_socket(settings: Settings) -> Path:
    """Where the service answers, and Envoy asks."""
    return EnvoyFolder(state_of(settings) / "envoy").sockets / "limits.sock"


def asks(settings: Settings) -> bool:
    """Whether a rule of *settings* needs the service."""
    rules = settings.limits.rules.values()
    return any(is_asked_for(rule) and rule.mode is not Mode.OFF for rule in rules)


@dataclass(slots=True)
class Helper:
    """Keeps a process beside *plane* running while *is_needed*, by what *command* says.

    Its files in the state folder are called *name*; *what* it is, and what its absence *prevents*,
    is for people.
    """

    plane: Plane
    name: str
    what: str
    prevents: str
    is_needed: Callable[[Settings], bool]
    command: Callable[[Settings], list[str]]
    _pause: float = field(default=_AGAIN_SECONDS, init=False)

    async def keep(self) -> None:
        """Start it while it is needed, adopt one that runs, and stop it when it is not."""
        while True:
            edit = self.plane.next_edit()
            try:
                why = await self._keep_until(edit)
            except (OSError, MoretonError) as error:
                why = f"it cannot be kept, {error}"
            if not why:
                self._pause = _AGAIN_SECONDS
                continue
            self.plane.troubles.begin(self.what, f"{why}: {self.prevents}; it is started again")
            await asyncio.sleep(self._pause)
            self._pause = min(_AGAIN_SECONDS_MAX, self._pause * 2)

    async def _keep_until(self, edit: asyncio.Event) -> str:
        """Keep it as the settings say until *edit*; why it ended, when it did before."""
        if not self.is_needed(self.plane.settings):
            await self.stop()
            self.plane.troubles.end(self.what)
            await edit.wait()
            return ""
        began = self._log.size()
        identity = await self._running()
        waits = [asyncio.create_task(one) for one in (edit.wait(), identity.wait_gone())]
        try:
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait(waits, timeout=_STEADY_SECONDS, return_when=first)
            if not done:
                self._pause = _AGAIN_SECONDS
                self.plane.troubles.end(self.what)
                await asyncio.wait(waits, return_when=first)
        finally:
            for one in waits:
                one.cancel()
        if edit.is_set():
            return ""
        reap(identity.pid)  # it may be our child, where we are init
        said = self._log.tail(1, since=began)
        return f"it ended, {said or f'and said nothing in {self._log.path}'}"

    async def stop(self) -> None:
        """End it, if it runs."""
        found = read_remembered(self._file)
        if found is not None:
            await found.identity.end(_GRACE)
        self._file.unlink(missing_ok=True)

    @property
    def _log(self) -> LogFile:
        return LogFile(state_of(self.plane.settings) / f"{self.name}.log")

    @property
    def _file(self) -> Path:
        return state_of(self.plane.settings) / f"{self.name}.json"

    async def _running(self) -> ProcessIdentity:
        """The one that runs as it should; one that runs otherwise is ended first."""
        command = self.command(self.plane.settings)
        found: Remembered | None = read_remembered(self._file)
        if found is not None and found.facts.get(_COMMAND) == "\n".join(command):
            return found.identity
        if found is not None:
            await found.identity.end(_GRACE)
        return self._begin(command)

    def _begin(self, command: list[str]) -> ProcessIdentity:
        log = self._log
        log.bound()

        def remember(identity: ProcessIdentity) -> None:
            write_identity(self._file, identity, {_COMMAND: "\n".join(command)})

        identity = spawn_orphan(command, output=log.path, errors=log.path, remember=remember)
        _LOG.info("the %s is process %d, it logs to %s", self.what, identity.pid, log.path)
        return identity


def _limits_command(settings: Settings) -> list[str]:
    counters = settings.limits.counters
    socket = asked_socket(settings)
    # Without a server the counts are in the memory of the machine, and outlive the process.
    store = counters.redis or str(socket.with_name("limits-counts"))
    command = [sys.executable, "-m", "moreton.cli.main", "limits", "serve"]
    command += ["--rules", str(settings.path.absolute()), "--listen", f"unix:{socket}"]
    return [*command, "--store", store, "--budget", format_duration(counters.budget)]


@contextlib.asynccontextmanager
async def asked(plane: Plane, signals: StopSignals) -> AsyncIterator[None]:
    """Within the block the service is kept; at the end it goes on when Envoy does."""
    prevents = "rules in scope exact go by their on_outage"
    service = Helper(plane, "limits", "rate limit service", prevents, asks, _limits_command)
    async with helped(service, signals):
        yield


@contextlib.asynccontextmanager
async def helped(helper: Helper, signals: StopSignals) -> AsyncIterator[None]:
    """Within the block *helper* is kept; at the end it goes on when Envoy does."""
    try:
        async with in_background(helper.keep(), name=helper.name):
            yield
    finally:
        if not signals.leaves(otherwise=False):
            await helper.stop()
