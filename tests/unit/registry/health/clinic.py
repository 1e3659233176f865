"""Rounds in virtual time: looks take as long as they are told to, and find what is so then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.registry.core.checks import Check
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import CheckResult, CheckStatus, Health
from moreton.registry.health import http_check
from moreton.registry.health.core.look import Looked
from moreton.registry.health.core.rounds import (
    DeregisterCritical,
    InstanceLost,
    InstanceSeen,
    LookAt,
    LookEnded,
    Rounds,
    RoundsEffect,
    WriteHealth,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PASSING, WARNING, CRITICAL = CheckStatus
FAST = http_check("/health", interval="1s", timeout="500ms")


def instance(name: str = "a", *checks: Check, port: int = 80) -> Instance:
    return Instance(InstanceId(name), "shop", "10.0.0.1", port, checks=checks or (FAST,))


@dataclass(slots=True)
class Clinic:
    """What is found at which instance, and how long it takes to find it."""

    seed: int = 1
    found: Callable[[Instance, timedelta], CheckStatus] = lambda _, __: PASSING
    took: Callable[[Instance, timedelta], timedelta] = lambda _, __: timedelta(0)
    at: timedelta = timedelta(0)
    looks: list[tuple[timedelta, str]] = field(default_factory=list)
    written: list[tuple[timedelta, WriteHealth]] = field(default_factory=list)
    ended: list[tuple[timedelta, str]] = field(default_factory=list)
    echo: bool = True
    rounds: Rounds = field(init=False)
    _there: dict[str, Instance] = field(default_factory=dict)
    _under_way: list[tuple[timedelta, int, LookAt, timedelta]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.rounds = Rounds(rng=seeded_rng(self.seed))

    def see(self, *instances: Instance) -> None:
        for one in instances:
            self._there[one.id] = one
            self._perform(self.rounds.handle(InstanceSeen(one), self._now()))

    def lose(self, name: str) -> None:
        del self._there[name]
        self._perform(self.rounds.handle(InstanceLost("shop", InstanceId(name)), self._now()))

    def run(self, span: timedelta) -> None:
        """Let *span* pass."""
        end = self.at + span
        while True:
            deadline = self.rounds.deadline()
            wake = None if deadline is None else deadline - Instant(0)
            answer = self._under_way[0][0] if self._under_way else None
            due = min((each for each in (wake, answer) if each is not None), default=end)
            if due > end or (wake is None and answer is None):
                self.at = end
                return
            self.at = max(due, self.at)
            if answer is not None and answer <= self.at:
                _, _, effect, took = heappop(self._under_way)
                looked = Looked(self.found(effect.instance, self.at), "seen", took)
                ended = LookEnded(effect.place, looked, EPOCH + self.at)
                self._perform(self.rounds.handle(ended, self._now()))
            else:
                self._perform(self.rounds.wake(self._now()))

    def statuses(self, name: str = "a") -> list[tuple[timedelta, str]]:
        """When which status was told of an instance."""
        return [(at, each.health.status) for at, each in self.written if each.id == name]

    def _now(self) -> Instant:
        return Instant(0) + self.at

    def _perform(self, effects: object) -> None:
        for effect in effects:  # type: ignore[attr-defined]
            self._perform_one(effect)

    def _perform_one(self, effect: RoundsEffect) -> None:
        match effect:
            case LookAt():
                self.looks.append((self.at, effect.instance.id))
                took = self.took(effect.instance, self.at)
                self._count += 1
                heappush(self._under_way, (self.at + took, self._count, effect, took))
            case WriteHealth(_, instance_id, health):
                self.written.append((self.at, effect))
                if self.echo and instance_id in self._there:
                    self.see(as_told(self._there[instance_id], health))
            case DeregisterCritical(_, instance_id, why):
                self.ended.append((self.at, why))


def as_told(one: Instance, health: Health) -> Instance:
    """The instance as everybody sees it then."""
    told = {each.id: each for each in health.checks}
    pending = (
        told.get(check.id) or CheckResult(check.id, CRITICAL, None, "it was not looked at yet")
        for check in one.checks
    )
    return Instance(
        one.id, one.service, one.address, one.port, checks=one.checks, health=Health(tuple(pending))
    )
