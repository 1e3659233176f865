"""Starting the programs that a benchmark measures, and ending exactly those."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

_READY_SECONDS_MAX = 20.0
_LISTENING = "0A"  # the state of a socket in /proc/net/tcp
_DEBIAN_PACKAGES = {
    "dnsmasq": "dnsmasq-base",
    "dnsperf": "dnsperf",
    "etcd": "etcd-server",
    "h2load": "nghttp2-client",
    "wrk": "wrk",
    "nginx": "nginx-light",
    "haproxy": "haproxy",
}


class Missing(RuntimeError):
    """A program that this machine does not have and cannot get."""


def need(program: str) -> str:
    """The path of *program*; installed from Debian when it is missing and we are root."""
    beside = Path(sys.executable).parent / program
    found = shutil.which(program) or (str(beside) if beside.exists() else None)
    if found is None and program in _DEBIAN_PACKAGES and os.geteuid() == 0:
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", _DEBIAN_PACKAGES[program]],
        ):
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = shutil.which(program)
    if found is None:
        package = _DEBIAN_PACKAGES.get(program, program)
        raise Missing(f"{program} is not installed; install the package {package}")
    return found


def ending_with_us(command: Sequence[str], *, by: str = "TERM") -> list[str]:
    """*command* that is sent the signal *by* when the thread that starts it ends in any way."""
    return ["setpriv", "--pdeathsig", by, *command]


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    port: int | None = None,
    cores: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """*command* as a child, pinned to *cores* (`0`, `0,1`), once *port* accepts."""
    pinned = ["taskset", "-c", cores, *command] if cores else list(command)
    with log.open("ab") as output:
        child = subprocess.Popen(
            pinned, stdout=output, stderr=output, env={**os.environ, **(env or {})}, cwd=cwd
        )
    try:
        if port is not None:
            wait_port(port, child, log)
        yield child
    finally:
        stop(child)


def stop(child: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """SIGTERM, then SIGKILL after *seconds*."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_port(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    """Return once *port* accepts; an error with the log's end when *child* dies first."""
    until = time.monotonic() + _READY_SECONDS_MAX
    while time.monotonic() < until:
        if child.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"port {port} did not open (exit status {child.poll()}):\n{tail}")


def resident_mib(pid: int) -> float:
    """The resident memory of *pid* in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def listening(port: int) -> list[int]:
    """The processes that listen on *port* of loopback."""
    inodes = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[3] == _LISTENING and int(fields[1].partition(":")[2], 16) == port
    }
    sockets = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if sockets & {str(one.readlink()) for one in folder.iterdir()}:
                found.append(int(folder.parent.name))
    return found


def cpu_seconds(port: int) -> float:
    """The CPU time, user's and system's, of the processes that listen on *port* of loopback."""
    return cpu_seconds_of(listening(port))


def cpu_seconds_of(pids: Iterable[int]) -> float:
    """The CPU time, user's and system's, of *pids*, to the nanosecond.

    What /proc/PID/stat tells is counted in hundredths: of half a second two percent.
    """
    return sum(time.clock_gettime(_cpu_clock(pid)) for pid in pids)


def _cpu_clock(pid: int) -> int:
    # As clock_getcpuclockid(3) makes it on Linux, which Python does not have.
    return (~pid << 3) | 2


def pin(pid: int, cores: set[int]) -> None:
    """Let every thread of *pid* run on *cores* only."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)
