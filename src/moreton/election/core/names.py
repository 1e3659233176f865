"""Where elections and locks lie in the store, and what may be asked of them."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from urllib.parse import quote

from moreton.kernel.quantities import format_duration
from moreton.store.core.model import LeaseId

NAME_BYTES_MAX = 256
# What a candidate tells of itself: an address, not a document.
VALUE_BYTES_MAX = 64 * 1024
# Shorter, and a busy loop or a slow disk ends the lease; longer, and nobody waits for its end.
TTL_MIN = timedelta(milliseconds=100)
TTL_MAX = timedelta(days=1)
# Kubernetes takes 15 s, Consul's sessions 15 s, etcd's 60 s.
TTL_DEFAULT = timedelta(seconds=10)
PERMITS_MAX = 10_000


class Kind(StrEnum):
    """What is competed for; each has names of its own."""

    ELECTION = "election"
    LOCK = "lock"
    SEMAPHORE = "semaphore"
    READ_WRITE_LOCK = "rwlock"


def prefix_of(kind: Kind, name: str) -> bytes:
    """Under which all entries of *name* lie: no other name's begin with it.

    Raises `TypeError`, or `ValueError` for a name that is empty or longer than 256 bytes.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a {kind} is text, not {name!r}; write one like 'rollouts'")
    length = len(name.encode())
    if not 0 < length <= NAME_BYTES_MAX:
        raise ValueError(
            f"the name of a {kind} has {length} bytes; write 1 to {NAME_BYTES_MAX} of them"
        )
    return f"/moreton/{kind}/{quote(name, safe=':')}/".encode()


def key_of(prefix: bytes, lease: LeaseId, suffix: str) -> bytes:
    """The key of the entry that hangs on *lease*."""
    return prefix + f"{lease:016x}{suffix}".encode()


def check_ttl(ttl: timedelta) -> None:
    """Raises `TypeError`, or `ValueError` when *ttl* is out of bounds."""
    if not isinstance(ttl, timedelta):
        raise TypeError(f"ttl is {ttl!r}, not a length of time; write timedelta(seconds=10)")
    if not TTL_MIN <= ttl <= TTL_MAX:
        raise ValueError(
            f"a ttl of {ttl} cannot be kept; write one from {format_duration(TTL_MIN)} to "
            f"{format_duration(TTL_MAX)}"
        )


def check_wait(wait: timedelta | None) -> None:
    """Raises `TypeError`, or `ValueError` when *wait* is negative."""
    if wait is None:
        return
    if not isinstance(wait, timedelta):
        raise TypeError(f"wait is {wait!r}, not a length of time; write timedelta(seconds=5)")
    if wait < timedelta(0):
        raise ValueError(f"nobody can wait {wait}; write 0 to not wait, None to wait for ever")


def check_value(value: bytes) -> None:
    """Raises `TypeError`, or `ValueError` when *value* is too long."""
    if not isinstance(value, bytes):
        raise TypeError(f"the value is {value!r}, not bytes; write value=b'...' or text.encode()")
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(
            f"a value of {len(value)} bytes is above {VALUE_BYTES_MAX}: it is read by everyone "
            "who waits; store the document elsewhere and write its key"
        )


def check_permits(permits: int) -> None:
    """Raises `TypeError`, or `ValueError` when *permits* is out of bounds."""
    if type(permits) is not int:
        raise TypeError(f"permits is {permits!r}, not a whole number; write one like 3")
    if not 1 <= permits <= PERMITS_MAX:
        raise ValueError(f"{permits} permits cannot be given; write 1 to {PERMITS_MAX}")
