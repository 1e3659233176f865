"""What stands in the cluster's log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from moreton.store.core.model import Lease, LeaseId, Transaction


@dataclass(frozen=True, slots=True)
class Grant:
    """Begin a lease."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Revoke:
    """End a lease because its owner, or any user, wants it."""

    lease: LeaseId


@dataclass(frozen=True, slots=True)
class Expire:
    """End leases that were not renewed in time, says the leader of *term*.

    It is void once a later leader has begun: with that one the leases may have been renewed.
    """

    leases: tuple[LeaseId, ...]
    term: int


@dataclass(frozen=True, slots=True)
class Begin:
    """The leader of *term* begins to time the leases, all of them anew."""

    term: int


@dataclass(frozen=True, slots=True)
class Compact:
    """Forget the history below *revision*."""

    revision: int


Command: TypeAlias = Transaction | Grant | Revoke | Expire | Begin | Compact
