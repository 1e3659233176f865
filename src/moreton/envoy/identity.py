"""Which process was ours: a file that a later control plane can trust.

A pid alone is not enough, since the system gives it to others; pid, start time and boot are.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of this machine."""

    pid: int
    started: str
    boot: str

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return identify(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal its process group, if it is still that process."""
        if self.is_alive():
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    async def wait_gone(self) -> None:
        """Return once it runs no more; works for processes that are not our children."""
        descriptor = _pidfd(self.pid) if self.is_alive() else None
        if descriptor is None:
            while self.is_alive():
                await asyncio.sleep(_POLL_SECONDS)
            return
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        loop.add_reader(descriptor, lambda: None if gone.done() else gone.set_result(None))
        try:
            await gone
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has *pid* now; `None` when none runs under it."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        if fields[0] in {"Z", "X"}:
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return ProcessIdentity(pid, fields[19], boot)
    found = subprocess.run(  # noqa: S603 - a fixed command and a number
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True
    )
    started = found.stdout.strip()
    return ProcessIdentity(pid, started, "") if started else None


def write_identity(path: Path, identity: ProcessIdentity) -> None:
    """Remember *identity* at *path*, whole or not at all."""
    making = path.with_suffix(".making")
    making.write_text(json.dumps(asdict(identity)))
    making.replace(path)


def read_identity(path: Path) -> ProcessIdentity | None:
    """The process remembered at *path*, if it still runs."""
    try:
        identity = ProcessIdentity(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return identity if identity.is_alive() else None


def _pidfd(pid: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None
