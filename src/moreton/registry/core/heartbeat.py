"""The life of one registration, as its owner sees it: register, renew, recover, leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias, assert_never

from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant

# Three renewals fit into a ttl: two may be lost.
RENEWALS_PER_TTL = 3
# Renewals move within this share of their interval, so that a fleet does not beat as one.
JITTER = 0.1
# How long to wait after the first failure; doubled with each, up to the cap.
BACKOFF_FIRST = timedelta(milliseconds=200)
BACKOFF_CAP = timedelta(seconds=5)
# What was refused is refused again until a person changes something.
REFUSED_BACKOFF_CAP = timedelta(seconds=30)
# Leaving must not keep a program from ending: what fails twice is left to the lease.
LEAVE_ATTEMPTS_MAX = 2


class Phase(StrEnum):
    """Where a registration is in its life."""

    JOINING = "joining"  # not registered, or not any more
    REGISTERED = "registered"
    UNCERTAIN = "uncertain"  # was registered; the last renewal had no answer
    LEAVING = "leaving"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The registry answered: registered, or renewed, for *ttl*.

    *revision* is that of a registration; 0 where none was told.
    """

    ttl: timedelta
    revision: int = 0


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The registry does not know this instance."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer, or one that says nothing: it may have happened, if it was *sent* at all."""

    reason: str
    sent: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """The registry said no; *later* if it may say yes without anyone changing the request."""

    reason: str
    later: bool


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """The owner is about to stop."""


@dataclass(frozen=True, slots=True)
class OfferChanged:
    """The owner has something else to say of the instance: that it drains, or serves again."""


@dataclass(frozen=True, slots=True)
class Deregistered:
    """The registry confirmed the end, or knew of no beginning."""


HeartbeatEvent: TypeAlias = (
    Confirmed | LeaseLost | Unanswered | Refused | LeaveRequested | OfferChanged | Deregistered
)


@dataclass(frozen=True, slots=True)
class SendRegistration:
    """Effect: ask to be registered; answer with `Confirmed`, `Unanswered` or `Refused`."""


@dataclass(frozen=True, slots=True)
class SendRenewal:
    """Effect: renew; answer with `Confirmed`, `LeaseLost`, `Unanswered` or `Refused`."""


@dataclass(frozen=True, slots=True)
class SendDeregistration:
    """Effect: end the registration; answer with `Deregistered` or `Unanswered`."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Effect: tell people that *phase* was entered, or why it is not left."""

    phase: Phase
    reason: str = ""


HeartbeatEffect: TypeAlias = SendRegistration | SendRenewal | SendDeregistration | Announce


class Heartbeat:
    """Keeps one instance registered for as long as it wants to be.

    Renews every third of the ttl; after a failure tries again with growing, jittered pauses;
    registers anew as soon as the registry says that it does not know the instance. One request
    is under way at most: its host answers each `Send…` with one event before the next.
    """

    def __init__(self, *, ttl: timedelta, rng: Rng, now: Instant) -> None:
        self.phase = Phase.JOINING
        self._ttl = ttl
        self._rng = rng
        self._failures = 0
        self._leave_attempts = 0
        self._is_old = False  # what is registered is not what is offered
        self._may_be_there = False  # there may be something to take away
        self._under_way = False
        self._told = ""
        self._due: Instant | None = now

    def handle(self, event: HeartbeatEvent, now: Instant) -> Sequence[HeartbeatEffect]:
        """What follows from *event*."""
        if isinstance(event, LeaveRequested):
            return self._leave()
        if isinstance(event, OfferChanged):
            return self._offer_changed(now)
        self._under_way = False
        if self.phase in {Phase.LEAVING, Phase.LEFT}:
            return self._leaving(event)
        return self._answered(event, now)

    def wake(self, now: Instant) -> Sequence[HeartbeatEffect]:
        """Send what is due."""
        if self._due is None or now < self._due or self._under_way:
            return ()
        self._due = None
        self._under_way = True
        if self.phase is Phase.JOINING or self._is_old:
            return (SendRegistration(),)
        return (SendRenewal(),)

    def hasten(self, now: Instant) -> Sequence[HeartbeatEffect]:
        """Renew now if that is due within half an interval: others do so, and go along."""
        soon = self._ttl / RENEWALS_PER_TTL / 2
        if self.phase is not Phase.REGISTERED or self._due is None or self._due - now > soon:
            return ()
        self._due = now
        return self.wake(now)

    def deadline(self) -> Instant | None:
        """When the next request is due."""
        return self._due

    def _offer_changed(self, now: Instant) -> Sequence[HeartbeatEffect]:
        if self.phase in {Phase.LEAVING, Phase.LEFT}:
            return ()
        self._is_old = True
        self._due = now
        return ()

    def _answered(
        self, event: Confirmed | LeaseLost | Unanswered | Refused | Deregistered, now: Instant
    ) -> Sequence[HeartbeatEffect]:
        match event:
            case Confirmed(ttl):
                return self._confirmed(ttl, now)
            case LeaseLost() | Deregistered():
                self._due = now
                return self._enter(Phase.JOINING, "the lease ended") + tuple(self.wake(now))
            case Unanswered(reason, sent):
                self._may_be_there |= sent
                self._retry(now, BACKOFF_CAP)
                is_joining = self.phase is Phase.JOINING
                return self._enter(Phase.JOINING if is_joining else Phase.UNCERTAIN, reason)
            case Refused(reason, later):
                self._retry(now, self._ttl if later else REFUSED_BACKOFF_CAP)
                return self._enter(Phase.JOINING, reason)
            case _:
                assert_never(event)

    def _confirmed(self, ttl: timedelta, now: Instant) -> tuple[HeartbeatEffect, ...]:
        self._failures = 0
        self._is_old = False
        self._may_be_there = True
        self._ttl = ttl
        interval = ttl / RENEWALS_PER_TTL
        self._due = now + interval * self._rng.uniform(1 - JITTER, 1)
        return self._enter(Phase.REGISTERED, "")

    def _retry(self, now: Instant, cap: timedelta) -> None:
        """Full jitter, as Brooker, "Exponential Backoff And Jitter", 2015; never at once."""
        ceiling = min(cap, BACKOFF_FIRST * 2 ** min(self._failures, 16))
        if self.phase is not Phase.JOINING:
            # While the lease may live, pauses stay well inside it.
            ceiling = min(ceiling, self._ttl / RENEWALS_PER_TTL)
        self._failures += 1
        self._due = now + max(ceiling * self._rng.random(), BACKOFF_FIRST / 4)

    def _enter(self, phase: Phase, reason: str) -> tuple[HeartbeatEffect, ...]:
        """Said once, not with each attempt: a long outage must not fill a log."""
        if phase is self.phase and reason in {self._told, ""}:
            return ()
        self.phase = phase
        self._told = reason
        return (Announce(phase, reason),)

    def _leave(self) -> Sequence[HeartbeatEffect]:
        if self.phase in {Phase.LEAVING, Phase.LEFT}:
            return ()
        self._due = None
        if not (self._may_be_there or self._under_way):
            return self._enter(Phase.LEFT, "")
        announced = self._enter(Phase.LEAVING, "")
        return announced + (() if self._under_way else self._send_deregistration())

    def _leaving(self, event: HeartbeatEvent) -> Sequence[HeartbeatEffect]:
        if self.phase is Phase.LEFT:
            return ()
        never_sent = isinstance(event, Unanswered) and not event.sent and not self._may_be_there
        if isinstance(event, Deregistered) or never_sent:
            return self._enter(Phase.LEFT, "")
        if self._leave_attempts < LEAVE_ATTEMPTS_MAX:
            return self._send_deregistration()
        reason = event.reason if isinstance(event, Unanswered | Refused) else ""
        return self._enter(Phase.LEFT, reason)

    def _send_deregistration(self) -> tuple[HeartbeatEffect, ...]:
        self._leave_attempts += 1
        self._under_way = True
        return (SendDeregistration(),)
