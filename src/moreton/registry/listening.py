"""Ports: a free one, whether one accepts, and which ones a program listens on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

_CONNECT_SECONDS_MAX = 1.0
_LISTEN_STATE = "0A"  # in /proc/net/tcp
_SESSION_FIELD = 3  # of /proc/PID/stat, counted after the name in parentheses
LOOPBACK = ("127.0.0.1", "::1")


async def accepting_address(addresses: tuple[str, ...], port: int) -> str | None:
    """The first of *addresses* that accepts connections to *port* now."""
    for address in addresses:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS_MAX):
                _, writer = await asyncio.open_connection(address, port)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return address
    return None


def listening_ports(session: int) -> tuple[int, ...]:
    """The TCP ports that the processes of a session listen on; empty where there is no /proc."""
    sockets = {inode for pid in _processes(session) for inode in _sockets(pid)}
    found = {port for inode, port in _listeners() if inode in sockets}
    return tuple(sorted(found))


def _processes(session: int) -> Iterator[str]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[_SESSION_FIELD] == str(session):
                yield stat.parent.name


def _sockets(pid: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(file.readlink())
                if target.startswith("socket:["):
                    yield target.removeprefix("socket:[").removesuffix("]")


def _listeners() -> Iterator[tuple[str, int]]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN_STATE:
                    yield fields[9], int(fields[1].rpartition(":")[2], 16)
