"""What an inbox does with events that arrived, and with one that its handler failed on."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from moreton.kernel.arguments import check_kind, check_whole
from moreton.kernel.rng import Rng
from moreton.resilience.core.backoff import Backoff
from moreton.transactions.outbox.core.event import Arrived, Event, NotAnEvent

Name: TypeAlias = tuple[str, str]
"""Of an event: its source and id. Of what events are about: their source and key."""


class OnDead(StrEnum):
    """What becomes of the events behind a dead one of their key."""

    PARK = "park"  # they wait aside, in order, until it is replayed or dropped; others go on
    SKIP = "skip"  # they go on
    BLOCK = "block"  # everything waits


@dataclass(frozen=True, slots=True)
class Handle:
    """Call the handler, in the transaction."""

    event: Event


@dataclass(frozen=True, slots=True)
class SetAside:
    """Keep the event in the inbox's table, in the transaction.

    *dead*: until a person decides; else it is tried after *wait*. *holds*: the next events of its
    key wait behind it.
    """

    event: Arrived
    reason: str
    dead: bool
    holds: bool
    wait: timedelta = timedelta(0)


Step: TypeAlias = Handle | SetAside


@dataclass(frozen=True, slots=True)
class Interest:
    """The types that an inbox handles, and those that it ignores; `*` ignores all others."""

    handled: Container[str]
    ignored: Container[str]

    def concerns(self, arrived: Arrived) -> bool:
        """Whether anything at all is to be done about it."""
        if isinstance(arrived, NotAnEvent) or arrived.type in self.handled:
            return True
        return not (arrived.type in self.ignored or "*" in self.ignored)


def plan(
    arrived: Iterable[Arrived],
    *,
    fresh: Collection[Name],
    held: Collection[Name],
    interest: Interest,
) -> list[Step]:
    """What to do about *arrived*, in order, each in *fresh* once: the others were here before.

    Events about something in *held*, where one is set aside already, wait behind it.
    """
    left, behind = set(fresh), set(held)
    steps: list[Step] = []
    for one in arrived:
        name = (one.source, one.id)
        if name not in left:
            continue
        left.discard(name)
        if isinstance(one, NotAnEvent):
            steps.append(SetAside(one, f"it is no event: {one.reason}", dead=True, holds=False))
        elif one.type not in interest.handled:
            reason = f"no handler for {one.type}: add one and replay it, or ignore the type"
            steps.append(SetAside(one, reason, dead=True, holds=False))
        elif (one.source, one.key) in behind:
            steps.append(SetAside(one, "behind another", dead=False, holds=True))
        else:
            steps.append(Handle(one))
    return steps


_BACKOFF = Backoff(initial=timedelta(milliseconds=200), cap=timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a handler that raises is tried: *attempts* in all, *backoff* between them."""

    attempts: int = 8
    backoff: Backoff = _BACKOFF

    def __post_init__(self) -> None:
        check_whole("attempts", self.attempts, 1)
        check_kind("backoff", self.backoff, Backoff)

    def after(
        self, event: Event, attempts: int, reason: str, *, final: bool, on_dead: OnDead, rng: Rng
    ) -> SetAside:
        """What follows from failure number *attempts* of *event*; *final*: trying does not help."""
        if final or attempts >= self.attempts:
            return SetAside(event, reason, dead=True, holds=on_dead is not OnDead.SKIP)
        wait = self.backoff.next_delay(attempts, rng)
        return SetAside(event, reason, dead=False, holds=True, wait=wait)
