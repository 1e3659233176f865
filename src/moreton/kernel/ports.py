"""A port for a program that is about to start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_HOST = "127.0.0.1"
_LOWEST = 20_000
_TRIES_MAX = 100
_OUTGOING_USUAL = 32_768  # the lowest source port of outgoing connections on Linux
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A TCP port of loopback on which nobody listened a moment ago.

    It is none that an outgoing connection could take before the program binds it,
    or while the program restarts, unless the system leaves no such ports.
    """
    end = first_outgoing_port()
    for _ in range(_TRIES_MAX if end > _LOWEST else 0):
        port = random.randrange(_LOWEST, end)  # noqa: S311 - hides nothing
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether *port* of loopback can be bound now, not even a closed connection being left."""
    with socket.socket() as probe:
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def first_outgoing_port() -> int:
    """Below it, the system gives no ports to outgoing connections."""
    try:
        return int(_OUTGOING.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _OUTGOING_USUAL
