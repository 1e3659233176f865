"""Measurements by programs of their own, on the core of those who ask."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.processes import need
from bench.registry.places import FLEET_CORE, MoretonServed, Served, cpu_seconds
from bench.registry.systems import name

_DNSPERF_CLIENTS = 16


def stream_renewals(
    server: Served, leases: int, *, rate: float, seconds: float
) -> dict[str, float]:
    """Renew *leases* of etcd over one stream; a *rate* of 0: as fast as it goes."""
    before = cpu_seconds(server.pid)
    found = _run("stream", [server.port, leases, rate, seconds])
    return {**found, "cpu_seconds": cpu_seconds(server.pid) - before}


def asked_names(port: int, services: int, rate: float, seconds: float) -> dict[str, float]:
    """The latencies of *rate* queries a second."""
    return _run("names", [port, services, rate, seconds])


def consul_reads(
    server: MoretonServed, services: int, rate: float, seconds: float
) -> dict[str, float]:
    """The latencies of *rate* reads a second by Consul's API; of 0: as fast as it goes."""
    return _run("consul", [server.consul_port, services, rate, seconds, server.token])


def most_names(port: int, services: int, seconds: int, folder: Path) -> float:
    """Answers a second at most, by dnsperf."""
    questions = folder / "questions.txt"
    questions.write_text("".join(f"{name(each)} A\n" for each in range(services)))
    command = [need("dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-e", "-d", str(questions)]
    command += ["-l", str(seconds), "-c", str(_DNSPERF_CLIENTS)]
    said = _pinned(command)
    found = re.search(r"Queries per second:\s+([\d.]+)", said)
    if found is None:
        raise RuntimeError(f"dnsperf failed: {said}")
    return float(found[1])


def _run(module: str, arguments: Sequence[float | str]) -> dict[str, float]:
    command = [sys.executable, "-m", f"bench.registry.{module}", *map(str, arguments)]
    found: dict[str, float] = json.loads(_pinned(command))
    return found


def _pinned(command: Sequence[str]) -> str:
    pinned = ["taskset", "-c", FLEET_CORE, *command]
    return subprocess.run(pinned, stdout=subprocess.PIPE, text=True, check=True).stdout
