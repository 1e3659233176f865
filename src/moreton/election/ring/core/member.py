"""A member of a ring whose members may die: any of the algorithms, and repair around it.

The algorithms assume that nobody fails. Around them: each frame is acknowledged, and a neighbour
that does not is skipped; a message that has gone round more often than there are members is
dropped, for its origin is dead; each election has a number (epoch), and who hears of a higher one
leaves the lower; an election that takes too long is begun again. None of that can tell a dead
member from a slow one, so that a divided ring may decide twice. Therefore a winner first claims
its epoch in a store, by compare-and-set, and is announced only with the token it got there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from moreton.election.ring.core.algorithms import Algorithm, ElectionNode, new_node
from moreton.election.ring.core.algorithms.bully import BullyTimeouts
from moreton.election.ring.core.frames import (
    Ack,
    Arrived,
    Begin,
    Carry,
    Claim,
    Claimed,
    Decision,
    Follow,
    Frame,
    MemberEffect,
    MemberEvent,
    Ping,
    Timings,
    Transmit,
    subject,
)
from moreton.election.ring.core.outbox import Neighbours, Outbox
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
    Uid,
)
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant

_SEQ_BITS = 48
_JITTER = 0.2


@dataclass(slots=True)
class MemberCounts:
    """What a member did so far."""

    carried: int = 0
    repeated: int = 0
    skipped: int = 0
    orphans: int = 0
    strangers: int = 0
    elections: int = 0


class Member:
    """One member of the ring *ring*, given in clockwise order and the same on every member.

    All members that can reach each other come to follow one leader. With a store behind `Claim`,
    an epoch has at most one leader and tokens only grow. Raises `DuplicateUid`, `NotAMember`.
    """

    def __init__(
        self,
        uid: Uid,
        ring: Sequence[Uid],
        *,
        rng: Rng,
        algorithm: Algorithm = Algorithm.LCR,
        timings: Timings | None = None,
    ) -> None:
        self.uid = uid
        self.epoch = 0
        self.decision: Decision | None = None
        self.counts = MemberCounts()
        self.neighbours = Neighbours(uid, ring)
        self._algorithm = algorithm
        self._timings = timings or Timings()
        self._rng = rng
        self._outbox = Outbox(self._timings)
        # A restarted member must not repeat the numbers of its earlier life.
        self._seq = rng.getrandbits(_SEQ_BITS)
        self._ping_due = Instant(0)
        self._election_due: Instant | None = None
        self._node = self._new_node()
        self._seen: set[tuple[Uid, int]] = set()
        self._held: Sequence[RingEffect] | None = None
        self._to_self: list[tuple[Message, int]] = []
        self._out: list[MemberEffect] = []

    @property
    def is_settled(self) -> bool:
        """Whether the newest election that this member knows of is decided."""
        return self.decision is not None and self.decision.epoch == self.epoch

    @property
    def is_leader(self) -> bool:
        """Whether this member leads, as far as it knows."""
        return self.is_settled and self.decision is not None and self.decision.leader == self.uid

    @property
    def node(self) -> ElectionNode:
        """This member's part in the newest election."""
        return self._node

    def handle(self, event: MemberEvent, now: Instant) -> Sequence[MemberEffect]:
        """As `Machine.handle`."""
        match event:
            case Begin():
                if not self.is_settled:
                    self._begin(now)
            case Arrived(source=source, frame=frame):
                self._arrived(source, frame, now)
            case Claimed(epoch=epoch, holder=holder):
                self._claimed(epoch, holder, now)
            case _:
                assert_never(event)
        return self._flush(now)

    def wake(self, now: Instant) -> Sequence[MemberEffect]:
        """As `Machine.wake`: send again, give up on the silent, ping, begin anew."""
        self._send_again(now)
        due = self._node.deadline()
        if due is not None and due <= now and not self.is_settled:
            self._perform(self._node.wake(now), None, 0, now)
        if self._ping_due <= now:
            self._ping(now)
        if self._election_due is not None and self._election_due <= now:
            self._campaign(self.epoch + 1, now)
        return self._flush(now)

    def deadline(self) -> Instant | None:
        """As `Machine.deadline`; never `None`, for there is always a next ping."""
        node = None if self.is_settled else self._node.deadline()
        others = (self._outbox.deadline(), self._election_due, node)
        return min([self._ping_due, *(each for each in others if each is not None)])

    # ------------------------------------------------------------------ elections

    def _begin(self, now: Instant) -> None:
        if self.epoch == 0:
            self._enter(1, now)
        self._perform(self._node.handle(Start(), now), None, 0, now)

    def _campaign(self, epoch: int, now: Instant) -> None:
        self._enter(epoch, now)
        self._begin(now)

    def _enter(self, epoch: int, now: Instant) -> None:
        self.counts.elections += 1
        self.epoch = epoch
        self._node = self._new_node()
        self._held = None
        self._seen.clear()
        self._to_self.clear()
        self._outbox.forget_carried()
        self._await_decision(now)

    def _await_decision(self, now: Instant) -> None:
        # Drawn anew each time, so that members do not begin over each other for ever.
        self._election_due = now + self._timings.election * self._rng.uniform(1, 2)

    def _new_node(self) -> ElectionNode:
        patience = self._timings.acknowledge * self._timings.attempts
        timeouts = BullyTimeouts(answer=patience, coordinator=2 * patience)
        return new_node(self._algorithm, self.uid, self.neighbours.ring, timeouts=timeouts)

    def _perform(
        self, effects: Sequence[RingEffect], cause: Message | None, hops: int, now: Instant
    ) -> None:
        """Do what the algorithm says; *cause*, which made *hops* hops, made it say so."""
        for index, effect in enumerate(effects):
            if isinstance(effect, Send):
                same = cause is not None and _is_same_walk(cause, effect.message)
                self._carry(effect.to, effect.message, hops + 1 if same else 1, now)
            elif isinstance(effect, Decide) and effect.leader == self.uid:
                # Nobody is told before the claim is through.
                self._held = effects[index + 1 :]
                self._out.append(Claim(self.epoch))
                return
            elif isinstance(effect, Decide) and not self.is_settled:
                self._decide(Decision(self.epoch, effect.leader), now)

    def _claimed(self, epoch: int, holder: Decision, now: Instant) -> None:
        held, is_mine = self._held, holder.leader == self.uid and holder.epoch == epoch
        if epoch != self.epoch or held is None:
            if not is_mine:
                self._learn(holder, now)
            return
        self._held = None
        if is_mine:
            self._decide(holder, now)
            self._perform(held, None, 0, now)
        elif holder.leader in self.neighbours.ring and self._trusts(holder.leader):
            self._learn(holder, now)
        else:
            # It is an earlier life's, or of someone who seems dead: only a later epoch replaces it.
            self._campaign(max(epoch, holder.epoch) + 1, now)

    def _learn(self, decision: Decision | None, now: Instant) -> None:
        if decision is None or decision.epoch < self.epoch or not decision.follows(self.decision):
            return
        if decision.epoch > self.epoch:
            self._enter(decision.epoch, now)
        self._decide(decision, now)

    def _decide(self, decision: Decision, now: Instant) -> None:
        self.decision = decision
        self._election_due = None
        if not self._trusts(decision.leader) and decision.leader != self.uid:
            self._await_decision(now)
        self._ping_due = now  # the neighbours learn of it at once
        self._out.append(Follow(decision))

    def _trusts(self, uid: Uid) -> bool:
        return uid != self.uid and uid not in self.neighbours.suspects

    # ------------------------------------------------------------------ frames

    def _arrived(self, source: Uid, frame: Frame, now: Instant) -> None:
        if source not in self.neighbours.ring:
            self.counts.strangers += 1
            return
        self.neighbours.suspects.discard(source)
        self._learn(frame.decision, now)
        if frame.epoch > self.epoch:
            self._enter(frame.epoch, now)
        if isinstance(frame, Ack):
            self._outbox.acknowledged(frame.seq, source)
            return
        self._out.append(Transmit(source, Ack(self.epoch, frame.seq, self.decision)))
        if isinstance(frame, Carry) and frame.epoch == self.epoch:
            if (source, frame.seq) in self._seen:
                return
            self._seen.add((source, frame.seq))
            self._take(frame.message, frame.hops, now)

    def _take(self, message: Message, hops: int, now: Instant) -> None:
        if hops > len(self.neighbours.ring):
            self.counts.orphans += 1
            return
        if self.is_settled and not isinstance(message, Announcement | Coordinator):
            return
        self._perform(self._node.handle(Received(message), now), message, hops, now)

    def _carry(self, to: Direction | Uid, message: Message, hops: int, now: Instant) -> None:
        target = self.neighbours.next(to) if isinstance(to, Direction) else to
        if target == self.uid:
            self._to_self.append((message, hops))
            return
        frame = Carry(self.epoch, self._next_seq(), hops, message, self.decision)
        self.counts.carried += 1
        self._outbox.put(target, to, frame, now)
        self._out.append(Transmit(target, frame))

    def _ping(self, now: Instant) -> None:
        self._ping_due = now + self._timings.heartbeat * self._rng.uniform(1 - _JITTER, 1)
        skipped, successor = self.neighbours.to_ping()
        for target in skipped:
            if target != self.uid:
                self._out.append(Transmit(target, self._new_ping()))
        if successor is not None and not self._outbox.awaits(successor):
            ping = self._new_ping()
            self._outbox.put(successor, Direction.CLOCKWISE, ping, now)
            self._out.append(Transmit(successor, ping))

    def _new_ping(self) -> Ping:
        return Ping(self.epoch, self._next_seq(), self.decision)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _send_again(self, now: Instant) -> None:
        again, silent = self._outbox.due_again(now)
        for waiting in again:
            if waiting.target not in silent:
                self.counts.repeated += 1
                self._out.append(Transmit(waiting.target, waiting.frame))
        self.neighbours.suspects |= silent
        for target in sorted(silent):
            self.counts.skipped += 1
            for direction, frame in self._outbox.take_back(target):
                self._carry(direction, frame.message, frame.hops, now)
        if self.is_settled and self.decision is not None and self.decision.leader in silent:
            self._campaign(self.epoch + 1, now)

    def _flush(self, now: Instant) -> Sequence[MemberEffect]:
        while self._to_self:
            message, hops = self._to_self.pop(0)
            self._take(message, hops, now)
        out, self._out = self._out, []
        return out


def _is_same_walk(before: Message, after: Message) -> bool:
    """Whether *after* is *before* on its way on, so that its hops are counted on."""
    return type(before) is type(after) and subject(before) == subject(after)
