"""What processes need of the processor, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """What the process has needed so far; 0 when it is gone."""
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def seconds_of_server(url: str) -> float:
    """What the PostgreSQL at *url* has needed so far, with all that it started and that ended."""
    with psycopg.connect(url) as db:
        fields = _fields(db.info.backend_pid)
        assert fields is not None
        server = int(fields[1])
        own = _fields(server)
        assert own is not None
        ended = (int(own[13]) + int(own[14])) / _TICKS
        running = sum(seconds_of(pid) for pid in _children(server))
    return seconds_of(server) + ended + running


def _children(parent: int) -> list[int]:
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [pid for pid in pids if (fields := _fields(pid)) and int(fields[1]) == parent]


def _fields(pid: int) -> list[str] | None:
    """Those behind the name, from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
