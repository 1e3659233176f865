"""What is measured, each with the fleet that asks it: the server on core 0, the fleet on core 1."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import Fleet, fleet
from bench.processes import need, resident_mib, running, stop
from bench.registry.systems import address, name
from bench.shared_stores import etcd_command
from moreton.kernel.ports import free_port

SERVER_CORE, FLEET_CORE = "0", "1"
_NANOSECONDS = 1e9


@dataclass(slots=True)
class Served:
    """A server, and the process of its fleet."""

    name: str
    pid: int
    port: int
    load: subprocess.Popen[str]

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Let the fleet do something; what it measured, with the CPU that the server took."""
        assert self.load.stdin is not None
        assert self.load.stdout is not None
        before = cpu_seconds(self.pid)
        self.load.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self.load.stdin.flush()
        line = self.load.stdout.readline()
        if not line:
            raise RuntimeError(f"the fleet of {self.name} ended; see above")
        found: dict[str, Any] = json.loads(line)
        return {**found, "cpu_seconds": cpu_seconds(self.pid) - before}

    def resident_mib(self) -> float:
        """What it holds in memory."""
        return resident_mib(self.pid)


@dataclass(slots=True)
class MoretonServed(Served):
    """`moreton up`, on its default store."""

    fleet: Fleet
    dns_port: int
    consul_port: int
    token: str

    def log(self) -> tuple[int, ...]:
        """Differs as soon as anything was written to the store: its revision, its files' state."""
        status = self.fleet.call("GET", "/v1/status")
        assert isinstance(status, dict)
        files = sorted((self.fleet.folder / ".moreton").glob("*.sqlite*"))
        assert files, "the store has files"
        states = [file.stat() for file in files]
        return (
            status["store"]["revision"],
            *(n for s in states for n in (s.st_mtime_ns, s.st_size)),
        )

    def metric(self, wanted: str) -> float:
        """A figure of its own."""
        for line in self.fleet.client.get("/metrics").text.splitlines():
            if line.startswith(f"{wanted} "):
                return float(line.split()[1])
        raise RuntimeError(f"there is no metric {wanted}")


def cpu_seconds(pid: int) -> float:
    """What the scheduler counted for all threads of *pid*, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            total += int((task / "schedstat").read_text().split()[0])
    return total / _NANOSECONDS


@contextlib.contextmanager
def _load(system: str, port: int, token: str, services: int) -> Iterator[subprocess.Popen[str]]:
    command = ["taskset", "-c", FLEET_CORE, sys.executable, "-m", "bench.registry.load", system]
    child = subprocess.Popen(
        [*command, str(port), token, str(services)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5)
        stop(child)  # type: ignore[arg-type] # of text, which changes nothing


@contextlib.contextmanager
def moreton(folder: Path, services: int) -> Iterator[MoretonServed]:
    """Ours."""
    dns, consul = free_port(), free_port()
    configuration = {
        "services": {"s0": {"discover": True}},
        "routes": {"everything": {"path": "/*", "to": "s0"}},
        "dns": {"listen": f"127.0.0.1:{dns}"},
        "consul": {"listen": f"127.0.0.1:{consul}"},
    }
    with fleet(folder, configuration, cores=SERVER_CORE) as made:
        assert made.child is not None
        token = (folder / ".moreton" / "token").read_text().strip()
        with _load("moreton", made.api_port, token, services) as load:
            port, pid = made.api_port, made.child.pid
            yield MoretonServed("moreton", pid, port, load, made, dns, consul, token)


@contextlib.contextmanager
def etcd(folder: Path, services: int) -> Iterator[Served]:
    """Debian's etcd, with its defaults."""
    folder.mkdir()
    port = free_port()
    command = etcd_command(folder, port)
    log = folder / "etcd.log"
    with (
        running(command, log=log, port=port, cores=SERVER_CORE) as child,
        _load("etcd", port, "", services) as load,
    ):
        yield Served("etcd", child.pid, port, load)


@contextlib.contextmanager
def dnsmasq(folder: Path, services: int, instances: int) -> Iterator[int]:
    """The port of a dnsmasq that knows the same names, from a file of hosts."""
    port = free_port()
    hosts = folder / "hosts"
    hosts.write_text("".join(f"{address(n)} {name(n % services)}\n" for n in range(instances)))
    command = [need("dnsmasq"), "--keep-in-foreground", "--no-resolv", "--no-hosts", "--no-daemon"]
    command += [f"--addn-hosts={hosts}", f"--port={port}", "--listen-address=127.0.0.1"]
    command += ["--bind-interfaces", "--conf-file=/dev/null", "--pid-file="]
    with running(command, log=folder / "dnsmasq.log", port=port, cores=SERVER_CORE):
        yield port
