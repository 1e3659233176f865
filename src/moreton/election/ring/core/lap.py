"""A lean driver for elections without faults: counts every message, fast enough for 10,000 nodes.

In rounds, as Lynch's synchronous model: what was sent in one round arrives in the next. Or, with
an `Rng`, one message at a time from a channel drawn at random, each channel keeping its order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moreton.election.ring.core.algorithms import Algorithm, ElectionNode, new_node
from moreton.election.ring.core.ring import (
    Announcement,
    Coordinator,
    Decide,
    Direction,
    Message,
    Received,
    RingEffect,
    Send,
    Start,
    Status,
    Uid,
    check_unique,
)
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant

# No timer is asked for, so that any instant would do.
_NOW = Instant(0)


@dataclass(frozen=True, slots=True)
class Hop:
    """One message under way, between positions on the ring."""

    source: int
    target: int
    message: Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an election cost. *rounds* are 0 when messages were delivered in random order."""

    algorithm: Algorithm
    nodes: int
    leader: Uid | None
    leaders: int  # how many nodes took themselves for it
    agreed: bool  # whether every node knows the same leader
    halted: int
    messages: int
    announcements: int
    rounds_to_elect: int
    rounds: int


class Lap:
    """One election among *uids*, in clockwise order; all begin unless *initiators* are given.

    Raises `DuplicateUid`; `ValueError` without nodes or initiators.
    """

    def __init__(
        self,
        uids: Sequence[Uid],
        algorithm: Algorithm,
        *,
        initiators: Iterable[int] | None = None,
        rng: Rng | None = None,
    ) -> None:
        if not uids:
            raise ValueError("a ring needs at least one node")
        check_unique(uids)
        self.algorithm = algorithm
        self.nodes: list[ElectionNode] = [new_node(algorithm, uid, uids) for uid in uids]
        self.sent: Counter[type[Message]] = Counter()
        self.rounds = self.rounds_to_elect = 0
        self._rng = rng
        self._positions = {uid: position for position, uid in enumerate(uids)}
        self._under_way: list[Hop] = []
        self._channels: dict[tuple[int, int], deque[Hop]] = {}
        self._busy: list[tuple[int, int]] = []
        beginning = range(len(uids)) if initiators is None else sorted(set(initiators))
        if not beginning:
            raise ValueError("nobody begins the election; name at least one initiator")
        for position in beginning:
            self._perform(position, self.nodes[position].handle(Start(), _NOW))

    @property
    def under_way(self) -> Sequence[Hop]:
        """The messages that the next `step` delivers; one channel's first when order is random."""
        return self._under_way

    def step(self) -> bool:
        """Deliver one round, or one message; false when nothing is under way any more."""
        if self._rng is not None:
            return self._deliver_one(self._rng)
        if not self._under_way:
            return False
        arriving, self._under_way = self._under_way, []
        self.rounds += 1
        for hop in arriving:
            self._deliver(hop)
        return True

    def run(self) -> Outcome:
        """Go on to the end."""
        while self.step():
            pass
        return self.outcome()

    def outcome(self) -> Outcome:
        """What is known so far."""
        leaders = [node.uid for node in self.nodes if node.status is Status.LEADER]
        known = {node.leader for node in self.nodes}
        return Outcome(
            algorithm=self.algorithm,
            nodes=len(self.nodes),
            leader=max(leaders, default=None),
            leaders=len(leaders),
            agreed=len(known) == 1 and None not in known,
            halted=sum(node.halted for node in self.nodes),
            messages=sum(self.sent.values()),
            announcements=self.sent[Announcement] + self.sent[Coordinator],
            rounds_to_elect=self.rounds_to_elect,
            rounds=self.rounds,
        )

    def _deliver_one(self, rng: Rng) -> bool:
        if not self._busy:
            return False
        index = rng.randrange(len(self._busy))
        key = self._busy[index]
        channel = self._channels[key]
        hop = channel.popleft()
        if not channel:
            self._busy[index] = self._busy[-1]
            self._busy.pop()
        self._deliver(hop)
        return True

    def _deliver(self, hop: Hop) -> None:
        effects = self.nodes[hop.target].handle(Received(hop.message), _NOW)
        if effects:
            self._perform(hop.target, effects)

    def _perform(self, position: int, effects: Iterable[RingEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent[type(effect.message)] += 1
                self._put(Hop(position, self._target(position, effect.to), effect.message))
            elif isinstance(effect, Decide) and not self.rounds_to_elect:
                self.rounds_to_elect = self.rounds

    def _target(self, position: int, to: Direction | Uid) -> int:
        if isinstance(to, Direction):
            step = 1 if to is Direction.CLOCKWISE else -1
            return (position + step) % len(self.nodes)
        return self._positions[to]

    def _put(self, hop: Hop) -> None:
        if self._rng is None:
            self._under_way.append(hop)
            return
        key = (hop.source, hop.target)
        channel = self._channels.setdefault(key, deque())
        if not channel:
            self._busy.append(key)
        channel.append(hop)


def elect(
    uids: Sequence[Uid],
    algorithm: Algorithm,
    *,
    initiators: Iterable[int] | None = None,
    rng: Rng | None = None,
) -> Outcome:
    """Run one election to its end; as `Lap`."""
    return Lap(uids, algorithm, initiators=initiators, rng=rng).run()
