"""Chang and Roberts: any node may begin, and the UID on its way grows to the largest.

Source: Chang and Roberts, "An improved algorithm for decentralized extrema-finding in circular
configurations of processes", CACM 22(5), 1979.
"""

from __future__ import annotations

from moreton.election.ring.core.algorithms.node import RingNode
from moreton.election.ring.core.ring import Candidate, Direction, Effects, Message, Send, Status


class ChangRobertsNode(RingNode):
    """As LCR, but who has passed on a larger UID takes part and never sends its own.

    A smaller UID is replaced by one's own when one does not take part yet, and dropped when one
    does. Messages with one initiator, the announcement among them: 2n when the largest begins,
    at most 3n - 1, when its clockwise neighbour does.
    """

    def _begin(self) -> Effects:
        self.status = Status.CANDIDATE
        return (Send(Direction.CLOCKWISE, Candidate(self.uid)),)

    def _receive(self, message: Message) -> Effects:
        if not isinstance(message, Candidate):
            return ()
        if message.uid == self.uid:
            return self._win()
        takes_part = self.status is not Status.ASLEEP
        if message.uid > self.uid:
            if not takes_part:
                self.status = Status.RELAY
            return (Send(Direction.CLOCKWISE, message),)
        return () if takes_part else self._begin()
