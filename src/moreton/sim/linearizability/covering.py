"""Writes that nobody sees: where in an order they are looked for.

A write that the next write directly follows is covered: it might as well come directly before any
other write, as long as nothing that began after it ended comes before it. So it is looked for only
as late as it can be: some operation between its cover and the write after that must have begun
after it ended. Of several covered in a row, those that ended earlier come first. It follows that
only one write that could be among them may be passed over, and that one must be their cover.

Without this, the subsets of concurrent writes would all be tried: 2**10 for ten clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Covered(NamedTuple):
    """What the order so far asks of the operations to come; lines, 0 for none.

    *last* is where the last operation ended, if that is a write: the next one may cover it.
    *latest* is where the last of those covered in this row ended. *owed* is a line after which an
    operation must have begun before there may be a write that covers nothing.
    """

    last: int
    latest: int
    owed: int

    def then_set(self, began: int, ended: int, rivals: Sequence[int]) -> Covered | None:
        """After a write that began and ended so; `None` if it need not be looked for here.

        *rivals* are where the writes end that could come instead of this one, itself among them.
        """
        if not self.last:
            return None if self.owed else Covered(ended, 0, 0)
        if self.last < self.latest or sum(end < self.last for end in rivals) > 1:
            return None
        return Covered(ended, self.last, 0 if began > self.last else self.last)

    def then_other(self, began: int, rivals: Sequence[int]) -> Covered | None:
        """After any other operation, which began so; `None` as above."""
        if self.latest and any(end < self.latest for end in rivals):
            return None
        if not self.owed or began > self.owed:
            return NOTHING_COVERED
        return Covered(0, 0, self.owed)


NOTHING_COVERED = Covered(0, 0, 0)
