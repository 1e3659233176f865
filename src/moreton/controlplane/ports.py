"""Binding a TCP port, and saying who has it when that fails."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moreton.controlplane.errors import AddressUnusable, PortInUse

_BACKLOG = 256
_LISTENING = "0A"  # the state in /proc/net/tcp; Linux, include/net/tcp_states.h
_COMMAND_CHARS_SHOWN = 60


def bind(host: str, port: int, *, what: str) -> socket.socket:
    """A socket that listens on *host*:*port*; *what* names its purpose in messages.

    Raises `PortInUse` with the holder where it can be known, `AddressUnusable`.
    """
    with translated(host, port, what=what):
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    listening.setblocking(False)
    return listening


@contextmanager
def translated(host: str, port: int, *, what: str) -> Iterator[None]:
    """An `OSError` of binding within as `PortInUse`, with the holder, or `AddressUnusable`."""
    address = f"{host}:{port}"
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(address=address, what=what, holder=holder_of(port)) from error
        raise AddressUnusable(address=address, what=what, reason=_reason(error)) from error


def check_free(host: str, port: int, *, what: str) -> None:
    """Raises as `bind` does when *host*:*port* cannot be listened on now."""
    bind(host, port, what=what).close()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def holder_of(port: int) -> str | None:
    """`process 4711 (nginx -g …)`, or `None` where that cannot be known."""
    inodes = {
        inode
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for inode in _listening_inodes(Path(table), port)
    }
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        if _has_open(process, wanted):
            command = _command(process)
            return f"process {process.name} ({command})" if command else f"process {process.name}"
    return None


def _listening_inodes(table: Path, port: int) -> Iterator[str]:
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    suffix = f":{port:04X}"
    for words in map(str.split, lines):
        if words[1].endswith(suffix) and words[3] == _LISTENING:
            yield words[9]


def _has_open(process: Path, wanted: set[str]) -> bool:
    try:
        return any(str(file.readlink()) in wanted for file in (process / "fd").iterdir())
    except OSError:
        return False


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return ""
    text = words.decode(errors="replace").strip()
    return text if len(text) <= _COMMAND_CHARS_SHOWN else f"{text[:_COMMAND_CHARS_SHOWN]}…"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
