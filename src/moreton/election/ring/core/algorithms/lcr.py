"""LCR: UIDs travel clockwise, and only the largest comes back.

Source: Le Lann 1977; Chang and Roberts 1979; Lynch, "Distributed Algorithms", 3.3 and 15.1.1.
"""

from __future__ import annotations

from moreton.election.ring.core.algorithms.node import RingNode
from moreton.election.ring.core.ring import Candidate, Direction, Effects, Message, Send, Status


class LcrNode(RingNode):
    """Knows its clockwise neighbour and its own UID, and neither the others nor their number.

    A larger UID is forwarded. A smaller one is ignored, and the node sends its own if it has not
    yet. Its own coming back makes it the leader: every other node has let it pass. The leader's
    announcement then stops each node in turn.

    Messages with all n nodes beginning: n*H_n on average, n(n+1)/2 when the UIDs fall clockwise,
    2n - 1 when they rise; n more for the announcement.
    """

    def _begin(self) -> Effects:
        self.status = Status.CANDIDATE
        return (Send(Direction.CLOCKWISE, Candidate(self.uid)),)

    def _receive(self, message: Message) -> Effects:
        if not isinstance(message, Candidate):
            return ()
        if message.uid > self.uid:
            return (Send(Direction.CLOCKWISE, message),)
        if message.uid == self.uid:
            return self._win()
        return self._begin() if self.status is Status.ASLEEP else ()
