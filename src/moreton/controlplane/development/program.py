"""One program of a `run:` service: started, probed, registered, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from moreton.envoy.identity import (
    ProcessIdentity,
    identify,
    read_identity,
    write_identity,
)
from moreton.envoy.restarts import RestartBackoff
from moreton.gateway.config import RunModel
from moreton.kernel.ports import free_port
from moreton.kernel.rng import system_rng
from moreton.kernel.time import SystemClock
from moreton.registry.core.errors import InstanceIdTaken, InstanceNotRegistered, RegistryBusy
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.instructions import Phase
from moreton.registry.core.standing import InstanceSource, InstanceState
from moreton.registry.host import Registry
from moreton.store.errors import StoreError

_HOST = "127.0.0.1"
_PROBE_SECONDS = 0.05
_PROBE_ANSWER_SECONDS_MAX = 5.0
_STOP_SECONDS_MAX = 10.0
_TTL = timedelta(seconds=10)
_RENEW_SECONDS = 3.0
_LOG_BYTES_MAX = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """What became of one program so far."""

    service: str
    pid: int | None
    port: int | None
    ready: bool
    adopted: bool
    restarts: int


class Program:
    """The program of the service *name*; its files are in *folder*, relative paths in *base*."""

    def __init__(
        self,
        name: str,
        run: RunModel,
        *,
        instance: InstanceId,
        folder: Path,
        base: Path,
        registry: Registry,
        drained: Callable[[str, str], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        """*drained* waits, for a bounded time, until nothing is sent to an instance."""
        self.run = run
        self.instance_id = instance
        self._name = name
        self._folder = folder
        self._base = base
        self._registry = registry
        self._drained = drained
        self._say = say
        self._state = InstanceState.SERVING
        self._served = asyncio.Event()
        self._backoff = RestartBackoff(system_rng())
        self._clock = SystemClock()
        self._identity: ProcessIdentity | None = None
        self._port: int | None = None
        self._ready = False
        self._adopted = False
        self._restarts = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Adopt the program that an earlier control plane left, or start it; keep it running."""
        self._task = asyncio.create_task(self._keep_running())

    async def detach(self) -> None:
        """Stop watching; the program goes on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def stop(self) -> None:
        """Let requests end, take the registration away, then end the program."""
        await self._drain()
        await self.detach()
        await self._deregister()
        await self.end()

    async def restart(self, report: Callable[[Phase], Awaitable[object]]) -> None:
        """Let requests end, end the program and start it; returns once it serves."""
        await report(Phase.DRAINING)
        # One that was adopted just now is known once it answered: it may have requests under way.
        await self._served.wait()
        await self._drain()
        await report(Phase.STOPPING)
        await self.detach()
        await self.end()
        await report(Phase.STARTING)
        self._state = InstanceState.SERVING
        self._ready = False
        self._served.clear()
        self.start()
        await self._served.wait()

    async def end(self) -> None:
        """SIGTERM, then SIGKILL after 10 s."""
        if self._identity is not None and self._identity.is_alive():
            self._identity.send(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_SECONDS_MAX):
                    await self._identity.wait_gone()
            except TimeoutError:
                self._identity.send(signal.SIGKILL)
                await self._identity.wait_gone()
            _reap(self._identity.pid)
        self._file("json").unlink(missing_ok=True)

    def statistics(self) -> ProcessStatistics:
        """What became of it so far."""
        alive = self._identity is not None and self._identity.is_alive()
        return ProcessStatistics(
            service=self._name,
            pid=self._identity.pid if alive and self._identity else None,
            port=self._port,
            ready=self._ready and alive,
            adopted=self._adopted,
            restarts=self._restarts,
        )

    def _file(self, ending: str) -> Path:
        return self._folder / f"{self._name}.{ending}"

    async def _keep_running(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            began = self._clock.now()
            await self._begin()
            assert self._identity is not None
            gone = asyncio.create_task(self._identity.wait_gone())
            serve = asyncio.create_task(self._serve())
            try:
                await asyncio.wait({gone, serve}, return_when=asyncio.FIRST_COMPLETED)
                if serve.done():
                    serve.result()  # a fault of ours, not of the program
                await gone
            finally:
                for task in (gone, serve):
                    task.cancel()
            self._ready = False
            await self._deregister()
            status = _reap(self._identity.pid)
            delay = self._backoff.next_delay(self._clock.now() - began)
            self._say(
                f"service {self._name!r} ended ({status}) and is started again in "
                f"{delay.total_seconds():.1f} s; its output is in {self._file('log')}"
            )
            await asyncio.sleep(delay.total_seconds())
            self._restarts += 1

    async def _begin(self) -> None:
        found = read_identity(self._file("json"))
        port = self._remembered_port()
        if found is not None and port is not None:
            self._identity, self._port, self._adopted = found, port, True
            return
        self._adopted = False
        await self._deregister()  # what an earlier run may have left, at another port
        self._port = port if port is not None and _is_free(port) else self._choose_port()
        self._file("port").write_text(str(self._port))
        self._identity = None
        while self._identity is None:
            self._identity = identify(self._spawn(self._port))
            if self._identity is None:  # it was gone before it could be looked at
                await asyncio.sleep(self._backoff.next_delay(timedelta(0)).total_seconds())
        write_identity(self._file("json"), self._identity)

    def _remembered_port(self) -> int | None:
        if self.run.port != "auto":
            return self.run.port
        try:
            return int(self._file("port").read_text())
        except (OSError, ValueError):
            return None

    def _choose_port(self) -> int:
        if self.run.port != "auto":
            return self.run.port
        return free_port()

    def _spawn(self, port: int) -> int:
        words = [word.replace("{port}", str(port)) for word in shlex.split(self.run.command)]
        log = self._file("log")
        if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
            log.replace(self._file("log.1"))
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(  # noqa: S603 - the user's own command
                    words,
                    cwd=self._base / self.run.cwd,
                    env={**os.environ, **self.run.env, "PORT": str(port)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                output.write(f"{words[0]} cannot be started: {error.strerror}\n".encode())
                return 0
        child.returncode = 0  # its end is seen by `wait_gone`, not by Popen
        return child.pid

    async def _serve(self) -> None:
        """Register once it answers, and renew for ever."""
        assert self._port is not None
        while not await self._answers(self._port):
            await asyncio.sleep(_PROBE_SECONDS)
        while True:
            try:
                await self._stay_registered()
            except InstanceNotRegistered:
                continue
            except (RegistryBusy, StoreError) as error:
                self._say(f"service {self._name!r} may not be registered: {error}")
                await asyncio.sleep(_RENEW_SECONDS)

    async def _drain(self) -> None:
        """Nothing new is sent to it from now on; in an outage of the store that cannot be known."""
        if not self._ready:
            return
        self._state = InstanceState.DRAINING
        with contextlib.suppress(InstanceIdTaken, InstanceNotRegistered, RegistryBusy, StoreError):
            await self._registry.register(self._instance(), ttl=_TTL)
            await self._drained(self._name, self.instance_id)

    def _instance(self) -> Instance:
        assert self._port is not None
        return Instance(
            self.instance_id,
            self._name,
            _HOST,
            self._port,
            state=self._state,
            source=InstanceSource.RUN,
        )

    async def _stay_registered(self) -> None:
        """Register, and renew until that fails."""
        await self._registry.register(self._instance(), ttl=_TTL)
        self._served.set()
        if not self._ready:
            self._ready = True
            self._say(f"service {self._name!r} answers on port {self._port}")
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._registry.renew(self._name, self.instance_id)

    async def _deregister(self) -> None:
        # In an outage of the store the lease ends it.
        with contextlib.suppress(InstanceNotRegistered, RegistryBusy, StoreError):
            await self._registry.deregister(
                self._name, self.instance_id, by="moreton up", why="its program ended"
            )

    async def _answers(self, port: int) -> bool:
        try:
            async with asyncio.timeout(_PROBE_ANSWER_SECONDS_MAX):
                reader, writer = await asyncio.open_connection(_HOST, port)
                try:
                    if self.run.ready is None:
                        return True
                    request = f"GET {self.run.ready} HTTP/1.1\r\nhost: {_HOST}:{port}\r\n"
                    writer.write(f"{request}connection: close\r\n\r\n".encode())
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return status[9:10] in {b"2", b"3"}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((_HOST, port))
            return True
    return False


def _reap(pid: int) -> str:
    """How the child *pid* ended; of an adopted program nothing is known."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "an adopted program"
    if found == 0:
        return "still ending"
    code = os.waitstatus_to_exitcode(status)
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
