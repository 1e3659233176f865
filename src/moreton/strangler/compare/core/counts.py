"""How many pairs of answers were compared, and what came of them."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the requests that were sampled.

    Of those *compared*, some were *different* where it counts, and of these some *unanswered* by
    the candidate; others are *undecided*, as too little is known of noise where they differ.
    *dropped* were sampled and not compared, for want of room or time; *skipped* were not copied,
    as they may have had effects, or were not answered by the primary.
    """

    compared: int = 0
    different: int = 0
    undecided: int = 0
    unanswered: int = 0
    dropped: int = 0
    skipped: int = 0

    def __add__(self, more: Counts) -> Counts:
        pairs = zip(astuple(self), astuple(more), strict=True)
        return Counts(*(one + other for one, other in pairs))

    def since(self, before: Counts) -> Counts:
        """What came on top of *before*; all of it when the counting began anew meanwhile."""
        pairs = list(zip(astuple(self), astuple(before), strict=True))
        if any(later < earlier for later, earlier in pairs):
            return self
        return Counts(*(later - earlier for later, earlier in pairs))
