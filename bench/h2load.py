"""h2load, driven over HTTP/1.1: runs that may be shorter than a second, which wrk's may not."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.processes import need


@dataclass(frozen=True, slots=True)
class H2loadFigures:
    """One run: requests a second, how many were answered, and how many not with 2xx or 3xx.

    *times*, in milliseconds, where they were asked for.
    """

    rps: float
    done: int
    failures: int
    times: tuple[float, ...] = ()


def h2load(
    url: str, *, seconds: float, connections: int, cores: str | None = None, log: Path | None = None
) -> H2loadFigures:
    """Drive *url* with one thread for *seconds* over *connections*; *log* is for times."""
    command = [need("h2load"), "--h1", "-t1", f"-c{connections}", f"-D{round(seconds * 1000)}ms"]
    command += ["--warm-up-time=0", url]
    if log is not None:
        log.unlink(missing_ok=True)
        command.append(f"--log-file={log}")
    if cores:
        command = ["taskset", "-c", cores, *command]
    told = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30).stdout
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", told)
    done = re.search(r"(\d+) done, \d+ succeeded, (\d+) failed", told)
    refused = re.search(r"(\d+) 4xx, (\d+) 5xx", told)
    assert rate is not None, told
    assert done is not None, told
    assert refused is not None, told
    failures = int(done[2]) + int(refused[1]) + int(refused[2])
    return H2loadFigures(float(rate[1]), int(done[1]), failures, _times(log))


def _times(log: Path | None) -> tuple[float, ...]:
    """The third column of what h2load writes of each request: the microseconds that it took."""
    if log is None:
        return ()
    lines = [line.split() for line in log.read_text().splitlines()]
    return tuple(int(took) / 1000 for _, _, took in lines)
