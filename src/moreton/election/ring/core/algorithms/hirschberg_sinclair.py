"""Hirschberg and Sinclair: each candidate asks twice as far in each phase, both ways.

Source: Hirschberg and Sinclair, "Decentralized extrema-finding in circular configurations of
processors", CACM 23(11), 1980; Lynch, "Distributed Algorithms", 3.4.
"""

from __future__ import annotations

from moreton.election.ring.core.algorithms.node import RingNode
from moreton.election.ring.core.ring import (
    Direction,
    Effects,
    Message,
    Probe,
    Reply,
    Send,
    Status,
    Uid,
)


class HirschbergSinclairNode(RingNode):
    """Needs both neighbours, and at most 8n(1 + ceil(log2 n)) messages and n announcements.

    In phase k a candidate's UID goes 2**k hops each way and comes back unless a larger node is
    within reach; so of any 2**(k-1) + 1 neighbours at most one wins phase k - 1.
    """

    def __init__(self, uid: Uid) -> None:
        super().__init__(uid)
        self.phase = 0
        self._replied: set[Direction] = set()

    def _begin(self) -> Effects:
        self.status = Status.CANDIDATE
        return self._probe()

    def _probe(self) -> Effects:
        self._replied.clear()
        hops = 2**self.phase
        return tuple(Send(way, Probe(self.uid, way, self.phase, hops)) for way in Direction)

    def _receive(self, message: Message) -> Effects:
        match message:
            case Probe():
                return self._probed(message)
            case Reply(uid=self.uid):
                return self._reply(message)
            case Reply():
                return (Send(message.direction, message),)
            case _:
                return ()

    def _probed(self, probe: Probe) -> Effects:
        if probe.uid == self.uid:
            return self._win()
        if probe.uid < self.uid:
            return self._begin() if self.status is Status.ASLEEP else ()
        if self.status is Status.ASLEEP:
            self.status = Status.RELAY
        way = probe.direction
        if probe.hops > 1:
            return (Send(way, Probe(probe.uid, way, probe.phase, probe.hops - 1)),)
        return (Send(way.opposite, Reply(probe.uid, way.opposite, probe.phase)),)

    def _reply(self, reply: Reply) -> Effects:
        if reply.phase != self.phase or self.status is not Status.CANDIDATE:
            return ()
        self._replied.add(reply.direction)
        if len(self._replied) < len(Direction):
            return ()
        self.phase += 1
        return self._probe()
