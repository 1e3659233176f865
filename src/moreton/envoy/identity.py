"""Which process was ours: a file that a later control plane can trust.

A pid alone is not enough, since the system gives it to others; pid, start time and boot are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

# Only where the kernel has no pidfd: macOS, and Linux before 5.3.
_POLL_SECONDS = 0.2
# Files are padded to this size, so that a full disk still lets them be written again in place.
_FILE_BYTES_MIN = 1024


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of this machine."""

    pid: int
    started: str
    boot: str

    def is_alive(self) -> bool:
        """Whether this very process still runs; a process that waits to be reaped does not."""
        return identify(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal it, and its process group if it leads one; nothing if it is gone."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.killpg(self.pid, number)
                except (ProcessLookupError, PermissionError):
                    os.kill(self.pid, number)

    async def wait_gone(self) -> None:
        """Return once it runs no more; works for processes that are not our children."""
        descriptor = _pidfd(self.pid)
        if descriptor is None:
            while await asyncio.to_thread(self.is_alive):
                await asyncio.sleep(_POLL_SECONDS)
            return
        try:
            # Looked at after the descriptor was opened: it stands for this process or for none.
            if self.is_alive():
                await _readable(descriptor)
        finally:
            os.close(descriptor)

    async def end(self, grace: timedelta) -> None:
        """SIGTERM, and SIGKILL when it still runs after *grace*; returns once it is gone."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self.wait_gone()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.wait_gone()


@dataclass(frozen=True, slots=True)
class Remembered:
    """A process, and what was noted when it was started."""

    identity: ProcessIdentity
    facts: Mapping[str, str] = field(default_factory=dict)


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has *pid* now; `None` when none runs under it."""
    if not Path("/proc/self/stat").exists():
        return _identify_by_ps(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended and waits for its parent to look; but while it has other threads, these
    # still hold its sockets.
    if fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1):
        return None
    return ProcessIdentity(pid, fields[19], _boot())


def write_identity(
    path: Path, identity: ProcessIdentity, facts: Mapping[str, str] | None = None
) -> None:
    """Remember *identity* and *facts* at *path*, whole or not at all.

    On a full disk an existing file is overwritten in place, so that a program that is started
    again can be remembered. Not synced: after a power failure no process is left to remember.
    """
    body = {
        "pid": identity.pid,
        "started": identity.started,
        "boot": identity.boot,
        "facts": dict(facts or {}),
    }
    data = json.dumps(body).ljust(_FILE_BYTES_MIN).encode()
    making = path.with_suffix(".making")
    try:
        making.write_bytes(data)
        making.replace(path)
    except OSError:
        making.unlink(missing_ok=True)
        with path.open("r+b") as file:
            file.write(data)
            file.truncate()


def read_remembered(path: Path) -> Remembered | None:
    """The process remembered at *path* and its facts, if it still runs."""
    try:
        found = json.loads(path.read_text())
        identity = ProcessIdentity(int(found["pid"]), str(found["started"]), str(found["boot"]))
        facts = {str(key): str(value) for key, value in dict(found.get("facts") or {}).items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Remembered(identity, facts) if identity.is_alive() else None


def read_identity(path: Path) -> ProcessIdentity | None:
    """The process remembered at *path*, if it still runs."""
    found = read_remembered(path)
    return None if found is None else found.identity


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _output("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")


def _identify_by_ps(pid: int) -> ProcessIdentity | None:
    state, _, started = _output("/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)).partition(" ")
    if not started or state.startswith("Z"):
        return None
    return ProcessIdentity(pid, started.strip(), _boot())


def _output(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed commands and a number
        command, capture_output=True, text=True, env={"LC_ALL": "C", "TZ": "UTC"}
    )
    return done.stdout.strip()


def _pidfd(pid: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    gone = loop.create_future()
    loop.add_reader(descriptor, lambda: None if gone.done() else gone.set_result(None))
    try:
        await gone
    finally:
        loop.remove_reader(descriptor)
