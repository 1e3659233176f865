"""The errors of elections and locks. Those of the store pass through as they are."""

from moreton.election.core.errors import (
    AlreadyHeld,
    ElectionError,
    FencedOff,
    LeadershipLost,
    LockLost,
    StillHeld,
    TermLost,
)

__all__ = [
    "AlreadyHeld",
    "ElectionError",
    "FencedOff",
    "LeadershipLost",
    "LockLost",
    "StillHeld",
    "TermLost",
]
