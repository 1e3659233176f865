"""What a majority, or both majorities of a joint configuration, agree on.

An empty majority agrees to everything, so that a configuration which is not joint is a joint one
whose other half is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum

from moreton.consensus.core.messages import Configuration, NodeId


class VoteResult(Enum):
    """How an election stands."""

    PENDING = "pending"  # more votes may decide it either way
    LOST = "lost"
    WON = "won"


def majority_index(voters: AbstractSet[NodeId], acked: Mapping[NodeId, int]) -> int | None:
    """The highest number that a majority of *voters* acknowledged; `None` without voters.

    Who acknowledged nothing counts as 0. O(n log n).
    """
    if not voters:
        return None
    numbers = sorted(acked.get(voter, 0) for voter in voters)
    return numbers[(len(numbers) - 1) // 2]


def committed_index(configuration: Configuration, acked: Mapping[NodeId, int]) -> int | None:
    """The highest number that every majority of *configuration* acknowledged.

    Source: Ongaro 2014, section 4.3: agreement requires separate majorities of both halves.
    """
    halves = (
        majority_index(configuration.voters, acked),
        majority_index(configuration.outgoing, acked),
    )
    return min((index for index in halves if index is not None), default=None)


def majority_vote(voters: AbstractSet[NodeId], votes: Mapping[NodeId, bool]) -> VoteResult:
    """How *voters* stand, given those *votes* that have come in; won without voters."""
    if not voters:
        return VoteResult.WON
    majority = len(voters) // 2 + 1
    granted = sum(votes.get(voter, False) for voter in voters)
    missing = sum(voter not in votes for voter in voters)
    if granted >= majority:
        return VoteResult.WON
    return VoteResult.PENDING if granted + missing >= majority else VoteResult.LOST


def vote_result(configuration: Configuration, votes: Mapping[NodeId, bool]) -> VoteResult:
    """How both halves of *configuration* stand together: lost in one is lost."""
    results = {
        majority_vote(configuration.voters, votes),
        majority_vote(configuration.outgoing, votes),
    }
    if VoteResult.LOST in results:
        return VoteResult.LOST
    return VoteResult.PENDING if VoteResult.PENDING in results else VoteResult.WON
