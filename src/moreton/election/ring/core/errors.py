"""What a ring refuses."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.election.core.errors import FencedOff as Outdated
from moreton.kernel.errors import MoretonError, RetryAdvice

_SHOWN_MAX = 5


class RingError(MoretonError):
    """The root of the ring's errors."""


class DuplicateUid(RingError):
    """Two nodes of one ring have the same UID."""

    code = "ring-duplicate-uid"

    def __init__(self, *, uids: Sequence[str]) -> None:
        self.uids = tuple(uids)
        shown = ", ".join(uids[:_SHOWN_MAX]) + (", ..." if len(uids) > _SHOWN_MAX else "")
        super().__init__(
            f"more than one node has the uid {shown}: a node could take another's for its own "
            "and the ring would have two leaders, so no election is begun; give each its own uid"
        )


class NotAMember(RingError):
    """A node that is not in the ring was asked to take part."""

    code = "ring-not-a-member"

    def __init__(self, *, uid: str, members: int) -> None:
        self.uid = uid
        super().__init__(
            f"{uid} is not among the {members} members of the ring: it cannot take part; "
            "add it to the ring's list, on every member"
        )


class FencedOff(RingError, Outdated):
    """The holder of an old token tried to act as the leader."""

    code = "ring-fenced-off"

    def __init__(self, *, ring: str, token: int, current: int | None) -> None:
        Outdated.__init__(self, what=f'ring "{ring}"', token=token, current=current)


class ClaimContested(RingError):
    """Others changed the leader's key each time that it was tried."""

    code = "ring-claim-contested"
    retry = RetryAdvice.AFTER

    def __init__(self, *, ring: str, attempts: int) -> None:
        super().__init__(
            f'the leader of ring "{ring}" changed during each of {attempts} attempts to claim '
            "it: this node is not the leader; the ring tries again by itself"
        )
