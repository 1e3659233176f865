"""Keeps one Envoy running: adopts it, starts it again when it dies, drains it at the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import gettempdir

from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer
from moreton.envoy.binary import envoy_version
from moreton.envoy.bootstrap import dynamic_bootstrap
from moreton.envoy.identity import (
    ProcessIdentity,
    identify,
    read_identity,
    write_identity,
)
from moreton.envoy.restarts import RestartBackoff
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.rng import system_rng
from moreton.kernel.time import SystemClock

_SOCKET_PATH_MAX = 100  # of the 108 bytes of sockaddr_un, leaving room for the file's name
_READY_SECONDS_MAX = 20.0
_READY_POLL_SECONDS = 0.01
_DRAIN_POLL_SECONDS = 0.05
_KILL_SECONDS = 5.0
_LOG_BYTES_MAX = 10 * 1024 * 1024
_LOG_LINES_SHOWN = 5


class EnvoyDied(MoretonError):
    """Envoy ended while it was being started."""

    code = "envoy-died"
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


class EnvoySupervisor:
    """One Envoy for the proxies' *group*; its files are in *folder*."""

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
        self._folder = folder
        self._binary = binary
        self._group = group
        self._drain_time = drain_time
        self._concurrency = concurrency
        self._on_change = on_change or (lambda: None)
        self._sockets = _socket_folder(folder)
        self._backoff = RestartBackoff(system_rng())
        self._clock = SystemClock()
        self._identity: ProcessIdentity | None = None
        self._adopted = False
        self._ready = False
        self._restarts = 0
        self._last_exit = ""
        self._watch: asyncio.Task[None] | None = None
        self.admin = AdminClient(self._sockets / "admin.sock")

    @property
    def xds_socket(self) -> Path:
        """Where Envoy looks for its control plane."""
        return self._sockets / "xds.sock"

    async def start(self) -> None:
        """Adopt the Envoy that an earlier control plane left, or start one.

        Raises `EnvoyUnusable` and `EnvoyDied`. The xDS server should listen first, but need not.
        """
        envoy_version(self._binary)
        self._folder.mkdir(parents=True, exist_ok=True)
        found = read_identity(self._folder / "envoy.json")
        if found is not None and await self._is_ours(found):
            self._identity, self._adopted = found, True
        else:
            if found is not None:
                await self._end(found)  # ours by its file, but it does not answer
            self._launch()
        self._watch = asyncio.create_task(self._keep_running())

    async def wait_ready(self, seconds: float = _READY_SECONDS_MAX) -> None:
        """Return once Envoy serves; raises `EnvoyDied` when it does not within *seconds*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not await self.admin.is_ready():
                    if self._watch is not None and self._watch.done():
                        break
                    await asyncio.sleep(_READY_POLL_SECONDS)
                else:
                    self._ready = True
                    self._on_change()
                    return
        raise EnvoyDied(
            f"Envoy was not ready after {seconds:g} s: nothing is served; its log ends with:\n"
            + self.log_tail()
        )

    async def stop(self) -> None:
        """Drain, then end Envoy: open requests may finish for up to the drain time."""
        await self.detach()
        if self._identity is None or not self._identity.is_alive():
            return
        with contextlib.suppress(EnvoyDoesNotAnswer, TimeoutError):
            async with asyncio.timeout(self._drain_time.total_seconds()):
                await self.admin.post("/healthcheck/fail")
                await self.admin.post("/drain_listeners?graceful&skip_exit")
                while await self._busy():
                    await asyncio.sleep(_DRAIN_POLL_SECONDS)
        await self._end(self._identity)
        (self._folder / "envoy.json").unlink(missing_ok=True)

    async def detach(self) -> None:
        """Stop watching; Envoy goes on, for a later control plane to adopt."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    def statistics(self) -> EnvoyStatistics:
        """What became of Envoy so far."""
        alive = self._identity is not None and self._identity.is_alive()
        return EnvoyStatistics(
            pid=self._identity.pid if alive and self._identity else None,
            version=str(envoy_version(self._binary)),
            adopted=self._adopted,
            ready=self._ready and alive,
            restarts=self._restarts,
            last_exit=self._last_exit,
        )

    def log_tail(self) -> str:
        """The last lines that Envoy logged."""
        try:
            lines = (self._folder / "envoy.log").read_text(errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(lines[-_LOG_LINES_SHOWN:]) or "(an empty log)"

    async def _is_ours(self, found: ProcessIdentity) -> bool:
        """Whether it answers and has the bootstrap that it would get now."""
        try:
            await self.admin.server_info()
            bootstrap = json.loads((self._folder / "bootstrap.json").read_text())
        except (EnvoyDoesNotAnswer, OSError, ValueError):
            return False
        return found.is_alive() and bootstrap == self._bootstrap()

    def _bootstrap(self) -> object:
        return dynamic_bootstrap(
            node=f"{self._group}-{os.uname().nodename}",
            group=self._group,
            xds_socket=self.xds_socket,
            admin_socket=self._sockets / "admin.sock",
        )

    def _launch(self) -> None:
        bootstrap = self._folder / "bootstrap.json"
        bootstrap.write_text(json.dumps(self._bootstrap(), indent=1))
        (self._sockets / "admin.sock").unlink(missing_ok=True)
        log = self._folder / "envoy.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
        arguments = [str(self._binary), "-c", str(bootstrap), "--use-dynamic-base-id"]
        arguments += ["--log-level", "warning"]
        arguments += ["--drain-time-s", str(max(1, int(self._drain_time.total_seconds())))]
        arguments += ["--parent-shutdown-time-s", str(int(self._drain_time.total_seconds()) + 5)]
        if self._concurrency is not None:
            arguments += ["--concurrency", str(self._concurrency)]
        pid = _spawn(arguments, log)
        self._identity = identify(pid)
        self._adopted = False
        if self._identity is not None:
            write_identity(self._folder / "envoy.json", self._identity)

    async def _keep_running(self) -> None:
        while True:
            began = self._clock.now()
            if self._identity is not None:
                await self._identity.wait_gone()
                self._last_exit = self.log_tail().splitlines()[-1]
            self._ready = False
            self._on_change()
            delay = self._backoff.next_delay(self._clock.now() - began)
            await asyncio.sleep(delay.total_seconds())
            self._restarts += 1
            self._launch()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_READY_SECONDS_MAX):
                    while self._identity is not None and self._identity.is_alive():
                        if await self.admin.is_ready():
                            self._ready = True
                            self._on_change()
                            break
                        await asyncio.sleep(_READY_POLL_SECONDS)

    async def _busy(self) -> bool:
        found = await self.admin.stats(r"^http\..*downstream_rq_active$")
        return any(v for name, v in found.items() if not name.startswith("http.admin."))

    async def _end(self, identity: ProcessIdentity) -> None:
        identity.send(signal.SIGTERM)
        try:
            await asyncio.wait_for(identity.wait_gone(), _KILL_SECONDS)
        except TimeoutError:
            identity.send(signal.SIGKILL)
            await identity.wait_gone()


# Envoy asks the kernel to be ended with its parent (PR_SET_PDEATHSIG), so its parent must be
# init: the shell ends at once, and its child begins when the shell is gone and reaped.
_ORPHAN = """
(while kill -0 $$ 2>/dev/null; do sleep 0.002; done; exec "$@") </dev/null >>"$LOG" 2>&1 &
echo $!
"""


def _spawn(arguments: list[str], log: Path) -> int:
    """Start *arguments* as a session of its own, nobody's child, its output appended to *log*."""
    done = subprocess.run(  # noqa: S603 - a fixed script; the arguments are not parsed again
        ["/bin/sh", "-c", _ORPHAN, "moreton-envoy", *arguments],
        env={**os.environ, "LOG": str(log)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=True,
    )
    return int(done.stdout)


def _socket_folder(folder: Path) -> Path:
    """A folder for sockets whose paths are short enough; ours alone."""
    if len(str(folder.absolute())) <= _SOCKET_PATH_MAX - len("/admin.sock"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder.absolute()
    digest = hashlib.blake2b(str(folder.absolute()).encode(), digest_size=8).hexdigest()
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or gettempdir())
    short = base / f"moreton-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise MoretonError(f"{short} belongs to someone else: no socket can be put there")
    return short
