"""Renewals of leases on their way to the leader, and its answers, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import timedelta

from moreton.store.core.model import LeaseId
from moreton.store.raft.core.encoding import MICROSECOND

_NOT_THERE = 0


def pack_leases(leases: Sequence[LeaseId]) -> bytes:
    """The question whether they live on."""
    return struct.pack(f">{len(leases)}q", *leases)


def read_leases(question: bytes) -> list[LeaseId]:
    """What `pack_leases` made. Raises `ValueError`."""
    return [LeaseId(number) for number in _numbers(question)]


def pack_ttls(ttls: Sequence[timedelta | None]) -> bytes:
    """The answer: the time to live of each, `None` for one that is not there."""
    numbers = [_NOT_THERE if ttl is None else ttl // MICROSECOND for ttl in ttls]
    return struct.pack(f">{len(ttls)}q", *numbers)


def read_ttls(answer: bytes) -> list[timedelta | None]:
    """What `pack_ttls` made. Raises `ValueError`."""
    return [None if number == _NOT_THERE else number * MICROSECOND for number in _numbers(answer)]


def _numbers(data: bytes) -> tuple[int, ...]:
    if len(data) % 8:
        message = f"{len(data)} bytes are not numbers of 8 each"
        raise ValueError(message)
    return struct.unpack(f">{len(data) // 8}q", data)
