"""wrk, driven: requests a second and latency of one address."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from bench.processes import need

_SOCKET_ERRORS = r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True, slots=True)
class WrkFigures:
    """One run: requests a second, latencies in milliseconds, and answers that were not 2xx/3xx."""

    rps: float
    p50_ms: float
    p99_ms: float
    failures: int


def mean(one: WrkFigures, other: WrkFigures) -> WrkFigures:
    """Two runs as one; of their latencies the means."""
    return WrkFigures(
        (one.rps + other.rps) / 2,
        (one.p50_ms + other.p50_ms) / 2,
        (one.p99_ms + other.p99_ms) / 2,
        one.failures + other.failures,
    )


def wrk(url: str, *, seconds: int, connections: int, cores: str | None = None) -> WrkFigures:
    """Drive *url* with one thread for *seconds* over *connections*."""
    command = [need("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    if cores:
        command = ["taskset", "-c", cores, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    text = done.stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    failures = int(errors[1]) if errors else 0
    failures += sum(int(part) for part in sockets.groups()) if sockets else 0
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None, text
    return WrkFigures(float(rate[1]), _latency(text, "50%"), _latency(text, "99%"), failures)


def _latency(text: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s|m)", text)
    assert found is not None, text
    return float(found[1]) * _UNITS[found[2]]
