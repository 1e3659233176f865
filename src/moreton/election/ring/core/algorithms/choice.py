"""The algorithms by name."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, assert_never

from moreton.election.ring.core.algorithms.bully import BullyNode, BullyTimeouts
from moreton.election.ring.core.algorithms.chang_roberts import ChangRobertsNode
from moreton.election.ring.core.algorithms.hirschberg_sinclair import HirschbergSinclairNode
from moreton.election.ring.core.algorithms.lcr import LcrNode
from moreton.election.ring.core.ring import RingEffect, RingEvent, Status, Uid
from moreton.kernel.machine import Machine


class Algorithm(StrEnum):
    """How a ring elects."""

    LCR = "lcr"
    CHANG_ROBERTS = "chang-roberts"
    HIRSCHBERG_SINCLAIR = "hirschberg-sinclair"
    BULLY = "bully"


class ElectionNode(Machine[RingEvent, RingEffect], Protocol):
    """One node's part in one election."""

    uid: Uid
    status: Status
    leader: Uid | None
    halted: bool


def new_node(
    algorithm: Algorithm,
    uid: Uid,
    members: Sequence[Uid],
    *,
    timeouts: BullyTimeouts | None = None,
) -> ElectionNode:
    """The part of *uid* in a new election. Only bully looks at *members* and *timeouts*."""
    match algorithm:
        case Algorithm.LCR:
            return LcrNode(uid)
        case Algorithm.CHANG_ROBERTS:
            return ChangRobertsNode(uid)
        case Algorithm.HIRSCHBERG_SINCLAIR:
            return HirschbergSinclairNode(uid)
        case Algorithm.BULLY:
            return BullyNode(uid, members, timeouts)
        case _:
            assert_never(algorithm)
