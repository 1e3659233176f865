"""Runs that happen in this process: without faults in rounds, or in the simulator with deaths."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from moreton.cli.ring.drawing import Flying, Spot
from moreton.cli.ring.report import Report
from moreton.cli.ring.screen import Screen
from moreton.cli.ring.settings import Wanted
from moreton.election.ring.core.frames import (
    Arrived,
    Begin,
    Claim,
    Claimed,
    Decision,
    Transmit,
    subject,
)
from moreton.election.ring.core.lap import Hop, Lap
from moreton.election.ring.core.member import Member
from moreton.election.ring.core.ring import Uid
from moreton.election.ring.processes import AGREE_SECONDS, RingUndecided
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.sim.world import Deliver, Send, World

_STEP = timedelta(milliseconds=10)


def run_lap(wanted: Wanted, screen: Screen) -> Report:
    """One election in rounds, nobody failing."""
    lap = Lap(wanted.uids, wanted.algorithm, initiators=wanted.initiators)
    _show_lap(lap, screen)
    while lap.step():
        _show_lap(lap, screen)
    outcome = lap.outcome()
    assert outcome.leader is not None
    return Report(wanted, [Decision(1, outcome.leader)], outcome=outcome)


def _show_lap(lap: Lap, screen: Screen) -> None:
    if not screen.is_watched:
        return
    spots = [Spot(str(node.uid.priority), node.status.value) for node in lap.nodes]
    flying = [_flying(hop) for hop in lap.under_way]
    inside = [f"round {lap.rounds}", f"{sum(lap.sent.values())} messages"]
    screen.show(spots, flying, inside)


def _flying(hop: Hop) -> Flying:
    return Flying(hop.source, hop.target, str(subject(hop.message).priority))


class _Node:
    """A member as the simulator drives it; every claim is granted, for there is no store."""

    def __init__(self, member: Member) -> None:
        self.member = member

    def handle(self, event: Any, now: Instant) -> Sequence[Any]:
        if isinstance(event, Deliver):
            assert isinstance(event.source, Uid)
            event = Arrived(event.source, event.message)
        return self._done(self.member.handle(event, now), now)

    def wake(self, now: Instant) -> Sequence[Any]:
        return self._done(self.member.wake(now), now)

    def deadline(self) -> Instant | None:
        return self.member.deadline()

    def _done(self, effects: Iterable[Any], now: Instant) -> list[Any]:
        done: list[Any] = []
        for effect in effects:
            if isinstance(effect, Transmit):
                done.append(Send(effect.target, effect.frame))
            elif isinstance(effect, Claim):
                granted = Claimed(effect.epoch, Decision(effect.epoch, self.member.uid))
                done += self._done(self.member.handle(granted, now), now)
        return done


class SimulatedDeaths:
    """A ring in virtual time whose members die."""

    def __init__(self, wanted: Wanted, screen: Screen) -> None:
        self._wanted = wanted
        self._screen = screen
        self._world = World(wanted.seed)
        self._world.tracing = False
        for uid in wanted.uids:
            self._world.add(uid, lambda _, uid=uid: self._boot(uid))  # type: ignore[misc]

    def run(self) -> Report:
        """Elect, kill the leader and others, elect again. Raises `RingUndecided`."""
        report = Report(self._wanted)
        for uid in self._wanted.uids:
            self._world.tell(uid, Begin())
        self._agree(report)
        for uid in self._wanted.victims(report.decisions[0].leader):
            self._world.crash(uid)
            report.killed.append(uid.priority)
        self._agree(report)
        return report

    def _boot(self, uid: Uid) -> _Node:
        rng = seeded_rng(f"{self._wanted.seed} {uid}")
        member = Member(uid, self._wanted.uids, rng=rng, algorithm=self._wanted.algorithm)
        return _Node(member)

    def _agree(self, report: Report) -> None:
        began = self._world.now
        end = began + timedelta(seconds=AGREE_SECONDS)
        while (decision := self._agreed()) is None:
            if self._world.now > end:
                seen = f"after {self._world.now - began} of virtual time"
                living = len(self._members())
                raise RingUndecided(living=living, seconds=AGREE_SECONDS, seen=seen)
            self._world.run(_STEP)
            self._show()
        report.decisions.append(decision)
        report.milliseconds.append((self._world.now - began) / timedelta(milliseconds=1))

    def _agreed(self) -> Decision | None:
        members = self._members()
        decisions = {m.decision if m.is_settled else None for m in members.values()}
        decision = decisions.pop() if len(decisions) == 1 else None
        return decision if decision is not None and decision.leader in members else None

    def _members(self) -> dict[Hashable, Member]:
        nodes = ((name, node.machine) for name, node in self._world.nodes.items())
        return {name: node.member for name, node in nodes if isinstance(node, _Node)}

    def _show(self) -> None:
        members = self._members()
        milliseconds = (self._world.now - Instant(0)) / timedelta(milliseconds=1)
        inside = [f"{milliseconds:,.0f} ms of virtual time"]
        spots = [_spot(uid, members.get(uid)) for uid in self._wanted.uids]
        self._screen.show(spots, (), inside)


def _spot(uid: Uid, member: Member | None) -> Spot:
    if member is None:
        return Spot(str(uid.priority), "dead")
    if not member.is_settled:
        return Spot(str(uid.priority), "undecided")
    return Spot(str(uid.priority), "leader" if member.is_leader else "follower")
