"""Who may act on a key: decided from what is kept under it.

nothing ──claim──▶ running ──answer──▶ answered ──expiry──▶ nothing
└─no answer worth keeping──▶ nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from moreton.transactions.idempotency.core.keys import Stored


class Interrupted(StrEnum):
    """What to do about a key whose first request never got an answer, as its process died.

    *refuse*: it may have taken effect, a person has to look; *rerun*: run it again, for handlers
    that ask the barrier, or are idempotent anyway.
    """

    REFUSE = "refuse"
    RERUN = "rerun"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept under a key; *stored* is `None` while it runs, and of what is too large."""

    fingerprint: str
    token: str
    lease_until_ms: int
    status: int
    stored: Stored | None

    @property
    def is_answered(self) -> bool:
        """Whether the first request has ended."""
        return self.status != 0


@dataclass(frozen=True, slots=True)
class Run:
    """Handle the request; *token* proves that it is ours to answer."""

    token: str


@dataclass(frozen=True, slots=True)
class Replay:
    """Give this answer."""

    stored: Stored


@dataclass(frozen=True, slots=True)
class Wait:
    """The first request is being handled: come again in *seconds*."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The first request died without an answer, or its answer, of *status*, was not kept."""

    status: int = 0


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Run it again, if nobody else takes *token* first."""

    token: str


Claim = Run | Replay | Wait | Mismatch | Unknown
# What a client is to wait for an answer that is on its way.
_SECONDS_MAX = 10


def judge(
    kept: Kept, fingerprint: str, now_ms: int, interrupted: Interrupted
) -> Replay | Wait | Mismatch | Unknown | TakeOver:
    """What a request with *fingerprint* finds, where *kept* is under its key."""
    if kept.fingerprint != fingerprint:
        return Mismatch()
    if kept.stored is not None:
        return Replay(kept.stored)
    if kept.is_answered:
        return Unknown(kept.status)
    left_ms = kept.lease_until_ms - now_ms
    if left_ms > 0:
        return Wait(max(1, min(_SECONDS_MAX, -(-left_ms // 1000))))
    return TakeOver(kept.token) if interrupted is Interrupted.RERUN else Unknown()
