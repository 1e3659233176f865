from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import cast

import pytest

from moreton.kernel.rng import Rng, seeded_rng
from moreton.kernel.time import Instant
from moreton.registry.core.heartbeat import (
    BACKOFF_CAP,
    REFUSED_BACKOFF_CAP,
    Announce,
    Confirmed,
    Deregistered,
    Heartbeat,
    HeartbeatEvent,
    LeaseLost,
    LeaveRequested,
    Phase,
    Refused,
    SendDeregistration,
    SendRegistration,
    SendRenewal,
    Unanswered,
)

TTL = timedelta(seconds=9)
SECOND = timedelta(seconds=1)
Request = SendRegistration | SendRenewal | SendDeregistration


def rng(seed: int) -> Rng:
    return cast("Rng", seeded_rng(seed))


class World:
    """Runs a heartbeat in virtual time against *answer*, and writes down what it did."""

    def __init__(self, answer: Callable[[Request, timedelta], HeartbeatEvent], seed: int) -> None:
        self.now = Instant(0)
        self.machine = Heartbeat(ttl=TTL, rng=rng(seed), now=self.now)
        self.requests: list[tuple[timedelta, Request]] = []
        self.said: list[Announce] = []
        self._answer = answer

    @property
    def elapsed(self) -> timedelta:
        return self.now - Instant(0)

    def run(self, until: timedelta) -> None:
        while (deadline := self.machine.deadline()) is not None and deadline - Instant(0) <= until:
            self.now = max(self.now, deadline)
            self.perform(list(self.machine.wake(self.now)))
        self.now = Instant(0) + until

    def perform(self, effects: list[Request | Announce]) -> None:
        while effects:
            effect = effects.pop(0)
            if isinstance(effect, Announce):
                self.said.append(effect)
                continue
            self.requests.append((self.elapsed, effect))
            effects += self.machine.handle(self._answer(effect, self.elapsed), self.now)

    def leave(self) -> None:
        self.perform(list(self.machine.handle(LeaveRequested(), self.now)))

    def of(self, kind: type[Request]) -> list[timedelta]:
        return [when for when, request in self.requests if isinstance(request, kind)]


def answering(request: Request, _: timedelta) -> HeartbeatEvent:
    return Deregistered() if isinstance(request, SendDeregistration) else Confirmed(TTL)


SEEDS = pytest.mark.parametrize("seed", range(5))


@SEEDS
def test_heartbeat_renews_three_times_within_a_ttl(seed: int) -> None:
    world = World(answering, seed)
    world.run(100 * SECOND)
    assert world.of(SendRegistration) == [timedelta(0)]
    renewals = [timedelta(0), *world.of(SendRenewal)]
    gaps = [later - earlier for earlier, later in pairwise(renewals)]
    assert len(gaps) >= 33
    assert all(0.9 * TTL / 3 <= gap <= TTL / 3 + timedelta(microseconds=1) for gap in gaps)
    assert len(set(gaps)) > 10, "without jitter a fleet would beat as one"
    assert world.said == [Announce(Phase.REGISTERED)]


@SEEDS
def test_heartbeat_registers_again_at_once_when_the_lease_is_lost(seed: int) -> None:
    lost: list[timedelta] = []

    def answer(request: Request, at: timedelta) -> HeartbeatEvent:
        if isinstance(request, SendRenewal) and at > 20 * SECOND and not lost:
            lost.append(at)
            return LeaseLost()
        return answering(request, at)

    world = World(answer, seed)
    world.run(60 * SECOND)
    assert world.of(SendRegistration) == [timedelta(0), *lost]
    assert len(lost) == 1
    assert [each.phase for each in world.said] == [
        Phase.REGISTERED,
        Phase.JOINING,
        Phase.REGISTERED,
    ]


@SEEDS
def test_heartbeat_survives_an_outage_of_ten_minutes(seed: int) -> None:
    away, back = 30 * SECOND, 630 * SECOND

    def answer(request: Request, at: timedelta) -> HeartbeatEvent:
        if away <= at < back:
            return Unanswered("connection refused")
        if at >= back and isinstance(request, SendRenewal) and not registered_again:
            return LeaseLost()
        if at >= back and isinstance(request, SendRegistration):
            registered_again.append(at)
        return answering(request, at)

    registered_again: list[timedelta] = []
    world = World(answer, seed)
    world.run(660 * SECOND)
    assert len(registered_again) == 1
    assert registered_again[0] - back <= BACKOFF_CAP
    during = [at for at, _ in world.requests if away <= at < back]
    assert len(during) <= 1200, "an outage must not become a storm"
    assert [each.phase for each in world.said] == [
        Phase.REGISTERED,
        Phase.UNCERTAIN,
        Phase.JOINING,
        Phase.REGISTERED,
    ], "each is said once, however long it lasts"


@SEEDS
def test_heartbeat_keeps_its_lease_when_two_answers_of_three_are_lost(seed: int) -> None:
    count = 0

    def answer(request: Request, at: timedelta) -> HeartbeatEvent:
        nonlocal count
        count += 1
        if isinstance(request, SendRenewal) and count % 3:
            return Unanswered("no answer within 2s")
        confirmed.append(at)
        return answering(request, at)

    confirmed: list[timedelta] = []
    world = World(answer, seed)
    world.run(300 * SECOND)
    gaps = [later - earlier for earlier, later in pairwise(confirmed)]
    assert max(gaps) < TTL
    assert world.of(SendRegistration) == [timedelta(0)]


@SEEDS
def test_heartbeat_waits_longer_when_it_is_refused(seed: int) -> None:
    world = World(lambda _, __: Refused("service name is not valid", later=False), seed)
    world.run(3600 * SECOND)
    attempts = world.of(SendRegistration)
    assert len(attempts) < 3600 / (REFUSED_BACKOFF_CAP / SECOND) * 3
    assert attempts[-1] > 3500 * SECOND, "it never gives up"
    assert world.said == [Announce(Phase.JOINING, "service name is not valid")]


@SEEDS
def test_heartbeat_registers_when_an_id_that_was_taken_is_free(seed: int) -> None:
    def answer(request: Request, at: timedelta) -> HeartbeatEvent:
        return Refused("it lives elsewhere", later=True) if at < TTL else answering(request, at)

    world = World(answer, seed)
    world.run(3 * TTL)
    assert world.machine.phase is Phase.REGISTERED
    assert world.of(SendRegistration)[-1] <= 2 * TTL


def test_leaving_takes_the_registration_away() -> None:
    world = World(answering, 0)
    world.run(SECOND)
    world.leave()
    assert len(world.of(SendDeregistration)) == 1
    assert world.machine.phase is Phase.LEFT
    assert world.machine.deadline() is None


def test_leaving_sends_nothing_when_nothing_was_ever_asked() -> None:
    world = World(answering, 0)
    world.leave()
    assert world.requests == []
    assert world.machine.phase is Phase.LEFT


def test_leaving_gives_up_when_nobody_answers() -> None:
    world = World(
        lambda request, at: (
            Unanswered("x") if isinstance(request, SendDeregistration) else answering(request, at)
        ),
        0,
    )
    world.run(SECOND)
    world.leave()
    assert len(world.of(SendDeregistration)) == 2
    assert world.said[-1] == Announce(Phase.LEFT, "x")


def test_leaving_deregisters_after_an_attempt_whose_answer_was_lost() -> None:
    world = World(
        lambda request, _: (
            Unanswered("x") if isinstance(request, SendRegistration) else Deregistered()
        ),
        0,
    )
    world.run(SECOND)
    world.leave()
    assert len(world.of(SendDeregistration)) == 1, "the registration may have happened"
    assert world.machine.phase is Phase.LEFT


def test_leaving_waits_for_the_request_under_way() -> None:
    machine = Heartbeat(ttl=TTL, rng=rng(0), now=Instant(0))
    assert machine.wake(Instant(0)) == (SendRegistration(),)
    assert machine.handle(LeaveRequested(), Instant(1)) == (Announce(Phase.LEAVING),)
    assert machine.handle(Confirmed(TTL), Instant(2)) == (SendDeregistration(),)
    assert machine.handle(Deregistered(), Instant(3)) == (Announce(Phase.LEFT),)
    assert machine.handle(LeaveRequested(), Instant(4)) == ()


def test_waking_early_or_twice_does_nothing() -> None:
    machine = Heartbeat(ttl=TTL, rng=rng(0), now=Instant(5))
    assert machine.wake(Instant(4)) == ()
    assert machine.wake(Instant(5)) == (SendRegistration(),)
    assert machine.wake(Instant(6)) == ()


def test_leaving_sends_nothing_when_no_request_ever_left_the_machine() -> None:
    world = World(lambda _, __: Unanswered("no control plane was found", sent=False), 0)
    world.run(30 * SECOND)
    count = len(world.requests)
    assert count > 1
    world.leave()
    assert len(world.requests) == count
    assert world.said[-1] == Announce(Phase.LEFT)


@SEEDS
def test_renewal_that_is_due_soon_goes_along_with_one_that_is_due(seed: int) -> None:
    world = World(answering, seed)
    world.run(timedelta(0))
    due = world.machine.deadline()
    assert due is not None
    early = Instant(0) + (due - Instant(0) - TTL / 6)
    world.now = Instant(early.nanos - 1_000_000)
    assert world.machine.hasten(world.now) == ()
    world.now = Instant(early.nanos + 1_000_000)
    assert world.machine.hasten(world.now) == (SendRenewal(),)
    assert world.machine.hasten(world.now) == (), "one request is under way at most"
    world.machine.handle(Confirmed(TTL), world.now)
    following = world.machine.deadline()
    assert following is not None
    assert following - world.now >= TTL / 3 * 0.9


def test_nothing_goes_along_that_is_not_registered() -> None:
    world = World(lambda *_: Unanswered("away"), 1)
    assert world.machine.hasten(world.now) == ()
    world.run(SECOND)
    assert world.machine.hasten(world.now) == ()
