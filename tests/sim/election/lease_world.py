"""Candidates that keep a lease by the real machine, and a model of the store with real leases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moreton.election.core.tenure import (
    LeaseGone,
    Lose,
    Renew,
    Renewed,
    Tenure,
    TenureEffect,
    TenureEvent,
    TurnCame,
    Unanswered,
)
from moreton.kernel.rng import Rng, seeded_rng
from moreton.kernel.time import Instant
from moreton.sim.network import Faults
from moreton.sim.world import Deliver, Send, World
from moreton.store.core.changes import LeaseGranted, LeaseRevoked
from moreton.store.core.lease import LeaseMachine, LeaseRenewed
from moreton.store.core.model import Lease, LeaseId

TTL = timedelta(seconds=1)
TICK = timedelta(milliseconds=20)
STORE = "store"
MakeTenure = Callable[[Rng, Instant], Tenure]


@dataclass(frozen=True, slots=True)
class Act:
    """Effect: what only the holder of *token* may do, done without asking anyone."""

    token: int


def reached(due: Instant | None, now: Instant) -> Instant:
    """*due*, if *now* misses it by no more than the rounding of a clock that drifts."""
    return due if due is not None and 0 < due.nanos - now.nanos < 1000 else now


class Registrar:
    """One key on a lease: whoever asks while it is free gets it, with the next token."""

    def __init__(self) -> None:
        self.token = 0
        self.is_free = True
        self.revision = 0
        self.written: list[int] = []
        self.refused = 0
        self._leases = LeaseMachine((), Instant(0))

    def handle(self, event: Deliver, now: Instant) -> list[Any]:
        kind, token = event.message[:2]
        current = not self.is_free and token == self.token
        if kind == "acquire" and self.is_free:
            self.revision += 1
            self.token, self.is_free = self.revision, False
            self._leases.handle(LeaseGranted(Lease(LeaseId(self.token), TTL)), now)
            return [Send(event.source, ("granted", token, self.token))]
        if kind == "renew":
            if current:
                self._leases.handle(LeaseRenewed(LeaseId(token)), now)
            return [Send(event.source, ("renewed" if current else "gone", *event.message[1:]))]
        if kind == "write" and current:
            self.written.append(token)
        elif kind == "write":
            self.refused += 1
        return []

    def wake(self, now: Instant) -> list[Any]:
        now = reached(self.deadline(), now)
        for effect in self._leases.wake(now):
            self._leases.handle(LeaseRevoked(Lease(effect.lease, TTL), None), now)
            self.is_free |= effect.lease == self.token
        return []

    def deadline(self) -> Instant | None:
        return self._leases.deadline()


class Candidate:
    """Asks for the key, keeps it, and acts every tick while it believes to hold it."""

    def __init__(self, seed: int, make: MakeTenure) -> None:
        self._rng = seeded_rng(seed)
        self._make = make
        self._tick = Instant(0)
        self._number = 0
        self._asked: dict[int, Instant] = {}
        self._tenure: Tenure | None = None
        self._token = 0
        self.losses: list[str] = []

    def handle(self, event: Deliver, now: Instant) -> list[Any]:
        kind, number, *rest = event.message
        if kind == "granted" and self._tenure is None and number in self._asked:
            self._token = rest[0]
            self._tenure = self._make(self._rng, self._asked[number])
            return self._told(TurnCame(), now)
        asked = self._asked.get(rest[0]) if rest else None
        if self._tenure is None or number != self._token or asked is None:
            return []
        gone = LeaseGone("the store does not have it")
        return self._told(Renewed(asked, TTL) if kind == "renewed" else gone, now)

    def wake(self, now: Instant) -> list[Any]:
        now = reached(self.deadline(), now)
        effects = [] if self._tenure is None else self._performed(self._tenure.wake(now), now)
        if now < self._tick:
            return effects
        self._tick = now + TICK
        if self._tenure is None:
            return [*effects, Send(STORE, ("acquire", self._ask(now)))]
        if self._rng.random() < 0.2:
            effects += self._told(Unanswered("lost"), now)
        return [*effects, Act(self._token), Send(STORE, ("write", self._token))]

    def deadline(self) -> Instant | None:
        due = None if self._tenure is None else self._tenure.deadline()
        return self._tick if due is None else min(due, self._tick)

    def _ask(self, now: Instant) -> int:
        self._number += 1
        self._asked[self._number] = now
        return self._number

    def _told(self, event: TenureEvent, now: Instant) -> list[Any]:
        assert self._tenure is not None
        return self._performed(self._tenure.handle(event, now), now)

    def _performed(self, effects: Sequence[TenureEffect], now: Instant) -> list[Any]:
        sent: list[Any] = []
        for effect in effects:
            match effect:
                case Renew():
                    sent.append(Send(STORE, ("renew", self._token, self._ask(now))))
                case Lose(reason):
                    self.losses.append(reason)
                    self._tenure = None
                    self._asked.clear()
        return sent


class LeaseWorld:
    """Three candidates, one store, and the rule: who acts is the one whom the store has."""

    def __init__(self, seed: int, make: MakeTenure, *, drift: float) -> None:
        faults = Faults(lose=0.05, duplicate=0.05, linger=0.05)
        self.world = World(seed, faults=faults, observe=self._observe)
        self.registrar = Registrar()
        self.acts = 0
        self.tokens: set[int] = set()
        self.candidates = {f"c{n}": Candidate(seed * 10 + n, make) for n in range(3)}
        self.world.add(STORE, lambda _: self.registrar).drift = drift
        for name, candidate in self.candidates.items():
            node = self.world.add(name, lambda _, it=candidate: it)  # type: ignore[misc]
            node.drift = -drift

    def run(self, length: timedelta) -> None:
        """Let *length* pass, with pauses and cuts of candidates all the while."""
        rng = self.world.rng
        for _ in range(length // TTL):
            name = f"c{rng.randrange(3)}"
            if rng.random() < 0.5:
                self.world.pause(name)
                self.world.at(TTL * rng.uniform(0.1, 2), lambda it=name: self.world.resume(it))  # type: ignore[misc]
            elif rng.random() < 0.3:
                self.world.network.partition([name], [STORE])
                self.world.at(TTL * rng.uniform(0.1, 2), self.world.network.heal)
            self.world.run(TTL)

    def _observe(self, name: object, effect: object) -> None:
        assert isinstance(effect, Act)
        self.acts += 1
        self.tokens.add(effect.token)
        # The registrar's clock decides when it ends; by then nobody may act any more.
        self.registrar.wake(self.world._local(self.world.nodes[STORE]))
        held = not self.registrar.is_free and self.registrar.token == effect.token
        self.world.check(held, f"{name} acts with token {effect.token}, which is over")
