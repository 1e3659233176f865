"""A ring of members in the simulator, with a model of the store that they claim their leader in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import timedelta
from typing import Any

from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.frames import (
    Arrived,
    Begin,
    Claim,
    Claimed,
    Decision,
    Follow,
    MemberEvent,
    Transmit,
    may_take,
)
from moreton.election.ring.core.member import Member
from moreton.election.ring.core.ring import Uid
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.sim.network import Faults
from moreton.sim.world import Deliver, Send, World

CLAIM_TIME = timedelta(milliseconds=3)


class Adapter:
    """Speaks the world's events and effects."""

    def __init__(self, member: Member) -> None:
        self.member = member

    def handle(self, event: Deliver | MemberEvent, now: Instant) -> list[Any]:
        if isinstance(event, Deliver):
            event = Arrived(event.source, event.message)  # type: ignore[arg-type]
        return self._effects(self.member.handle(event, now))

    def wake(self, now: Instant) -> list[Any]:
        return self._effects(self.member.wake(now))

    def deadline(self) -> Instant | None:
        return self.member.deadline()

    def _effects(self, effects: Sequence[Any]) -> list[Any]:
        return [
            Send(each.target, each.frame) if isinstance(each, Transmit) else each
            for each in effects
        ]


class RingWorld:
    """Members, their store and what must hold at every moment."""

    def __init__(
        self,
        seed: int,
        uids: Sequence[Uid],
        *,
        algorithm: Algorithm = Algorithm.LCR,
        faults: Faults | None = None,
        with_store: bool = True,
    ) -> None:
        self.world = World(seed, faults=faults, observe=self._observe)
        self.uids = list(uids)
        self.algorithm = algorithm
        self.with_store = with_store
        self.held: Decision | None = None  # what the store has
        self.granted: list[Decision] = []
        self.followed: dict[Uid, list[Decision]] = {uid: [] for uid in uids}
        self._lives = 0
        for uid in uids:
            self.world.add(uid, lambda _, uid=uid: self._boot(uid))  # type: ignore[misc]

    def begin(self, *uids: Uid) -> None:
        for uid in uids or self.uids:
            self.world.tell(uid, Begin())

    def member(self, uid: Uid) -> Member | None:
        machine = self.world.nodes[uid].machine
        return machine.member if isinstance(machine, Adapter) else None

    def living(self) -> list[Member]:
        return [m for uid in self.uids if (m := self.member(uid)) is not None]

    def running(self) -> list[Member]:
        return [member for member in self.living() if not self.world.nodes[member.uid].paused]

    def agreed(self) -> bool:
        """Every living, running member follows one decision, and its leader is one of them."""
        members = self.running()
        decisions = {member.decision if member.is_settled else None for member in members}
        if len(decisions) != 1:
            return False
        decision = decisions.pop()
        return decision is not None and decision.leader in {member.uid for member in members}

    def until_agreed(self, seconds: float = 120) -> Decision:
        if not self.world.run(timedelta(seconds=seconds), until=self.agreed):
            states = {str(m.uid): (m.epoch, m.decision) for m in self.living()}
            self.world.fail(f"no agreement within {seconds} s: {states}, store {self.held}")
        decision = self.running()[0].decision
        assert decision is not None
        return decision

    def crash(self, *uids: Uid) -> None:
        for uid in uids:
            self.world.crash(uid)

    def _boot(self, uid: Uid) -> Adapter:
        self._lives += 1
        rng = seeded_rng(f"{self.world.seed} {uid} {self._lives}")
        return Adapter(Member(uid, self.uids, rng=rng, algorithm=self.algorithm))

    def _observe(self, name: Hashable, effect: Any) -> None:
        assert isinstance(name, Uid)
        match effect:
            case Claim(epoch=epoch):
                life = self.world.nodes[name].life
                self.world.at(CLAIM_TIME, lambda: self._claim(name, epoch, life))
            case Follow(decision=decision):
                self.followed[name].append(decision)
                self._check(decision)

    def _claim(self, uid: Uid, epoch: int, life: int) -> None:
        holder = Decision(epoch, uid)
        if self.with_store:
            if may_take(self.held, epoch):
                self.held = Decision(epoch, uid, token=len(self.granted) + 2)
                self.granted.append(self.held)
            assert self.held is not None
            holder = self.held
        if self.world.nodes[uid].life == life:
            self.world.tell(uid, Claimed(epoch, holder))

    def _check(self, decision: Decision) -> None:
        if self.with_store:
            self.world.check(decision in self.granted, f"{decision} is not in the store")
            tokens = [each.token or 0 for each in self.granted]
            self.world.check(tokens == sorted(set(tokens)), "tokens do not grow")
            epochs = [each.epoch for each in self.granted]
            self.world.check(epochs == sorted(set(epochs)), "an epoch has two leaders")


def shuffled_ring(seed: int, n: int) -> list[Uid]:
    uids = [Uid(number) for number in range(1, n + 1)]
    seeded_rng(seed).shuffle(uids)
    return uids
