"""Keeps one Envoy running: adopts it, starts it again when it dies, drains it at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer
from moreton.envoy.binary import envoy_version
from moreton.envoy.bootstrap import dynamic_bootstrap
from moreton.envoy.identity import Remembered
from moreton.envoy.process.beginning import begin
from moreton.envoy.process.draining import drain
from moreton.envoy.process.ending import is_crash, reap, reason_in
from moreton.envoy.process.folder import EnvoyFolder
from moreton.envoy.process.launch import Launch, Lineage, is_ready, lineage_of
from moreton.envoy.process.limits import connections_max, heap_bytes_max
from moreton.envoy.process.succession import Succession
from moreton.envoy.restarts import RestartBackoff
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.rng import system_rng
from moreton.kernel.time import SystemClock

_LOG = logging.getLogger(__name__)
_READY_SECONDS_MAX = 20.0
_READY_POLL_SECONDS = 0.01
_LOOK_AT_LOGS_SECONDS = 2.0
_KILL_AFTER = timedelta(seconds=5)
_LOG_LINES_SHOWN = 5
_LOG_LINES_SEARCHED = 50
_NO_WORD = "it left no word: killed from outside, or by the kernel for want of memory"


class EnvoyDied(MoretonError):
    """Envoy ended while it was being started."""

    code = "envoy-died"
    retry = RetryAdvice.AFTER


class EnvoyNotReady(MoretonError):
    """Envoy runs, but does not serve in time."""

    code = "envoy-not-ready"
    retry = RetryAdvice.AFTER


@dataclass(frozen=True, slots=True)
class EnvoyStatistics:
    """What became of Envoy so far."""

    pid: int | None
    version: str
    adopted: bool
    ready: bool
    restarts: int
    last_exit: str
    retiring: int  # Envoys from which this one took over, and which finish what they have


class EnvoySupervisor:
    """One Envoy for the proxies' *group*; its files are in *folder*.

    Start, then stop or detach, once each. A second supervisor of the same folder is refused.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: Path,
        group: str,
        drain_time: timedelta = timedelta(seconds=30),
        concurrency: int | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._folder = EnvoyFolder(folder)
        self._binary = binary
        self._group = group
        self._drain_time = drain_time
        self._concurrency = concurrency
        self._on_change = on_change or (lambda: None)
        self._backoff = RestartBackoff(system_rng())
        self._clock = SystemClock()
        self._succession = Succession(self._folder, drain_time)
        self._version = ""
        self._current: Remembered | None = None
        self._adopted = False
        self._ready = False
        self._was_ready = False
        self._restarts = 0
        self._last_exit = self._start_failed = ""
        self._crashed = False
        self._log_began = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @cached_property
    def admin(self) -> AdminClient:
        """Asks the Envoy that runs now."""
        return AdminClient(self._folder.admin_socket)

    @property
    def runs(self) -> bool:
        """Whether it runs now, connected or not."""
        return self._current is not None and self._current.identity.is_alive()

    @property
    def xds_socket(self) -> Path:
        """Where Envoy looks for its control plane; its folder is there."""
        self._folder.make_sockets()
        return self._folder.xds_socket

    async def start(self) -> None:
        """Adopt the Envoy that an earlier control plane left, or start one.

        One that was started in another way (from the last good configuration, by another version,
        with other settings) goes on until the new one is ready, which takes its sockets over.
        The xDS server should listen first, but need not. Raises `EnvoyUnusable`,
        `EnvoySupervised`, `EnvoyFolderUnusable`, `EnvoyDied`.
        """
        self._version = str(await asyncio.to_thread(envoy_version, self._binary))
        self._folder.hold()
        try:
            await self._begin()
        except BaseException:
            self._folder.release()
            raise
        self._task = asyncio.create_task(self._keep_running(), name="envoy")

    async def wait_ready(self, seconds: float = _READY_SECONDS_MAX) -> None:
        """Return once Envoy serves.

        Raises `EnvoyDied` when the first one ends before that, `EnvoyNotReady` after *seconds*.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._ready:
                    if self._start_failed and not self._was_ready:
                        raise self._died(self._start_failed)
                    await self._changed.wait()
        except TimeoutError as error:
            raise EnvoyNotReady(
                f"Envoy was not ready after {seconds:g} s ({await self._state()}): nothing new is "
                f"served; its log ends with:\n{self.log_tail()}"
            ) from error

    async def stop(self) -> None:
        """Drain, then end Envoy: open requests may finish for up to the drain time."""
        await self._stop_watching()
        current = self._current
        if current is not None and current.identity.is_alive():
            gone = asyncio.create_task(current.identity.wait_gone())
            draining = asyncio.create_task(drain(self.admin, self._drain_time))
            await asyncio.wait({gone, draining}, return_when=asyncio.FIRST_COMPLETED)
            for task in (gone, draining):
                task.cancel()
            await asyncio.gather(gone, draining, return_exceptions=True)
            await self._end(current)
        await self._succession.end_now()
        self._folder.process.unlink(missing_ok=True)
        self._folder.remove_sockets()
        self._folder.release()

    async def detach(self) -> None:
        """Stop watching; Envoy goes on, for a later control plane to adopt."""
        await self._stop_watching()
        self._folder.release()

    def statistics(self) -> EnvoyStatistics:
        """What became of Envoy so far."""
        alive = self._current is not None and self._current.identity.is_alive()
        return EnvoyStatistics(
            pid=self._current.identity.pid if alive and self._current else None,
            version=self._version,
            adopted=self._adopted,
            ready=self._ready and alive,
            restarts=self._restarts,
            last_exit=self._last_exit,
            retiring=self._succession.retiring(),
        )

    def log_tail(self) -> str:
        """The last lines that Envoy logged."""
        return self._folder.log.tail(_LOG_LINES_SHOWN, since=self._log_began) or "(an empty log)"

    async def _begin(self) -> None:
        launch = self._plan()
        current = self._folder.current()
        self._succession.load(current)
        try:
            if current is not None and await self._succession.keeps(current, launch, self.admin):
                self._current, self._adopted = current, True
                return
            self._launch(launch)
        except OSError as error:
            raise self._died(error.strerror or str(error)) from error

    def _plan(self) -> Launch:
        sockets = self._folder.make_sockets()
        bootstrap = dynamic_bootstrap(
            node=f"{self._group}-{os.uname().nodename}",
            group=self._group,
            xds_socket=self._folder.xds_socket,
            admin_socket=self._folder.admin_socket,
            heap_bytes_max=heap_bytes_max(),
            connections_max=connections_max(),
        )
        return Launch(
            binary=self._binary,
            version=self._version,
            bootstrap=self._folder.bootstrap,
            content=json.dumps(bootstrap, indent=1).encode(),
            sockets=sockets,
            drain_time=self._drain_time,
            concurrency=self._concurrency,
            crashed=self._crashed,
        )

    def _launch(self, launch: Launch) -> None:
        self._log_began = self._folder.log.size()
        lineage = self._succession.next_lineage() or Lineage.begin(system_rng())
        self._current = begin(self._folder, launch, lineage, kind="dynamic")
        self._adopted = False

    async def _keep_running(self) -> None:
        while True:
            began = self._clock.now()
            if self._current is not None:
                await self._tend_until_gone(self._current)
                if self._was_ready or not self._start_failed:
                    _LOG.warning("Envoy ended, %s: starting it again", self._last_exit)
            self._ready = False
            self._notify()
            delay = self._backoff.next_delay(self._clock.now() - began)
            await asyncio.sleep(delay.total_seconds())
            self._restarts += 1
            self._current = None
            try:
                self._launch(self._plan())
            except (OSError, MoretonError) as error:  # such as a full disk: it may pass
                self._on_end(f"it cannot be started: {error}")

    async def _tend_until_gone(self, current: Remembered) -> None:
        tending = asyncio.create_task(self._tend(lineage_of(current.facts)))
        try:
            await current.identity.wait_gone()
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
        how = reap(current.identity.pid)  # it may be our child, where we are init
        log = self._folder.log.tail(_LOG_LINES_SEARCHED, since=self._log_began)
        self._on_end(reason_in(log) or how or _NO_WORD)
        lineage = lineage_of(current.facts)
        if lineage is not None and not self._succession.retiring():
            lineage.forget()

    def _on_end(self, reason: str) -> None:
        self._last_exit = reason
        # One that dies before it can tell of it leaves no word either.
        crashed = is_crash(reason) or (reason == _NO_WORD and not self._was_ready)
        if crashed and not self._crashed:
            self._crashed = True  # and the next one is tried
        else:
            self._start_failed = reason

    async def _tend(self, lineage: Lineage | None) -> None:
        """What there is to do for an Envoy that runs."""
        while not await is_ready(self.admin, lineage):
            await asyncio.sleep(_READY_POLL_SECONDS)
        self._ready = self._was_ready = True
        self._notify()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._succession.retire())
            tasks.create_task(self._bound_logs())

    async def _bound_logs(self) -> None:
        while True:
            if await asyncio.to_thread(self._folder.log.bound):
                self._log_began = 0
            await asyncio.to_thread(self._folder.output.bound)
            await asyncio.sleep(_LOOK_AT_LOGS_SECONDS)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change()

    async def _stop_watching(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _end(self, current: Remembered) -> None:
        await current.identity.end(_KILL_AFTER)
        reap(current.identity.pid)
        lineage = lineage_of(current.facts)
        if lineage is not None:
            lineage.forget()

    async def _state(self) -> str:
        try:
            return str((await self.admin.server_info())["state"]).lower().replace("_", " ")
        except EnvoyDoesNotAnswer:
            return "it does not answer"

    def _died(self, why: str) -> EnvoyDied:
        return EnvoyDied(
            f"Envoy ended before it served, {why}: nothing is served; its log ends with:\n"
            + self.log_tail()
        )
