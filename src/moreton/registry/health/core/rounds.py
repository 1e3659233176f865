"""All checks of all instances: one machine, so that one host and one timer do for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias, assert_never

from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.registry.core.checks import Check
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import CheckResult, CheckStatus, Health
from moreton.registry.health.core.look import Look, Looked, StartLook


class Place(NamedTuple):
    """Which check of which instance; *serial* tells a definition from the one before it."""

    service: str
    instance: InstanceId
    check: str
    serial: int


@dataclass(frozen=True, slots=True)
class InstanceSeen:
    """An instance is registered, or what is said of it changed."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class InstanceLost:
    """An instance is not registered any more."""

    service: str
    id: InstanceId


@dataclass(frozen=True, slots=True)
class LookEnded:
    """The look at *place* ended so, *at* that time of the calendar."""

    place: Place
    looked: Looked
    at: datetime


RoundsEvent: TypeAlias = InstanceSeen | InstanceLost | LookEnded


@dataclass(frozen=True, slots=True)
class LookAt:
    """Effect: look at *instance* by *check*; answer with `LookEnded` of *place*."""

    place: Place
    instance: Instance
    check: Check


@dataclass(frozen=True, slots=True)
class WriteHealth:
    """Effect: from now on this is what the active checks of an instance found."""

    service: str
    id: InstanceId
    health: Health


@dataclass(frozen=True, slots=True)
class DeregisterCritical:
    """Effect: end the registration of an instance that is critical for too long."""

    service: str
    id: InstanceId
    why: str


RoundsEffect: TypeAlias = LookAt | WriteHealth | DeregisterCritical


@dataclass(slots=True)
class _Patient:
    instance: Instance
    looks: dict[str, tuple[int, Check, Look]] = field(default_factory=dict)
    results: dict[str, CheckResult] = field(default_factory=dict)
    # Of what is critical and not to stay: since when.
    critical: dict[str, Instant] = field(default_factory=dict)

    def agrees(self, told: Mapping[str, CheckResult]) -> bool:
        """Whether what was found is what is told; not after a write that went astray."""
        return all(
            check_id in told and told[check_id].status is result.status
            for check_id, result in self.results.items()
        )

    def write(self) -> WriteHealth:
        """Tell all that was found, in the order in which the checks were given."""
        found = (self.results.get(check.id) for check in self.instance.checks)
        health = Health(tuple(each for each in found if each is not None))
        return WriteHealth(self.instance.service, self.instance.id, health)


class Rounds:
    """Looks at every instance that has checks; a step costs O(log n) in the number of checks.

    What it tells is complete for an instance: all that its active checks found so far. A check
    whose definition changed begins anew and keeps its status until it found another.
    """

    def __init__(self, *, rng: Rng) -> None:
        self._rng = rng
        self._serial = 0
        self._patients: dict[tuple[str, InstanceId], _Patient] = {}
        # When to look at what: maybe too early or of what is gone, which shows when it comes up.
        self._queue: list[tuple[Instant, int, tuple[str, InstanceId], str]] = []

    def __len__(self) -> int:
        """How many checks are looked at."""
        return sum(len(patient.looks) for patient in self._patients.values())

    def handle(self, event: RoundsEvent, now: Instant) -> Sequence[RoundsEffect]:
        """What follows from *event*."""
        match event:
            case InstanceSeen(instance):
                return self._see(instance, now)
            case InstanceLost(service, instance_id):
                self._patients.pop((service, instance_id), None)
                return ()
            case LookEnded(place, looked, at):
                return list(self._end(place, looked, at, now))
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> Sequence[RoundsEffect]:
        """The looks that are due, and the ends of who is critical for too long."""
        effects: list[RoundsEffect] = []
        while self._queue and self._queue[0][0] <= now:
            _, serial, who, check_id = heappop(self._queue)
            patient = self._patients.get(who)
            if patient is None:
                continue
            effects.extend(self._look(patient, who, check_id, serial, now))
            effects.extend(self._expel(patient, who, check_id, now))
        return effects

    def deadline(self) -> Instant | None:
        """No later than the next look."""
        return self._queue[0][0] if self._queue else None

    def _see(self, instance: Instance, now: Instant) -> Sequence[RoundsEffect]:
        who = (instance.service, instance.id)
        if not instance.checks:
            self._patients.pop(who, None)
            return ()
        told = {} if instance.health is None else {x.id: x for x in instance.health.checks}
        active = {check.id: check for check in instance.checks if check.is_active}
        patient = self._patients.get(who)
        if patient is None:
            patient = self._patients[who] = _Patient(instance)
            patient.results = {x.id: x for x in told.values() if x.id in active and x.since}
        moved = patient.instance.endpoint != instance.endpoint
        patient.instance = instance
        for gone in (patient.looks.keys() | patient.results.keys()) - active.keys():
            patient.looks.pop(gone, None)
            patient.results.pop(gone, None)
        for check in instance.checks:
            known = patient.looks.get(check.id)
            if not check.is_active and check.id in told:
                self._note_critical(patient, who, check, told[check.id].status, now)
            elif check.is_active and (known is None or known[1] != check or moved):
                self._begin(patient, who, check, now)
        return [] if patient.agrees(told) else [patient.write()]

    def _begin(
        self, patient: _Patient, who: tuple[str, InstanceId], check: Check, now: Instant
    ) -> None:
        result = patient.results.get(check.id)
        known = None if result is None else result.status
        self._serial += 1
        look = Look(check, known, rng=self._rng, now=now)
        patient.looks[check.id] = (self._serial, check, look)
        self._schedule(look.deadline(), self._serial, who, check.id)
        if known is not None:
            self._note_critical(patient, who, check, known, now)

    def _end(
        self, place: Place, looked: Looked, at: datetime, now: Instant
    ) -> Iterator[RoundsEffect]:
        who = (place.service, place.instance)
        patient = self._patients.get(who)
        found = None if patient is None else patient.looks.get(place.check)
        if patient is None or found is None or found[0] != place.serial:
            return
        serial, check, look = found
        told = look.handle(looked, now)
        self._schedule(look.deadline(), serial, who, check.id)
        for effect in told:
            if isinstance(effect, StartLook):
                continue
            patient.results[check.id] = CheckResult(check.id, effect.status, at, effect.output)
            self._note_critical(patient, who, check, effect.status, now)
            yield patient.write()

    def _look(
        self,
        patient: _Patient,
        who: tuple[str, InstanceId],
        check_id: str,
        serial: int,
        now: Instant,
    ) -> Iterator[RoundsEffect]:
        found = patient.looks.get(check_id)
        if found is None or found[0] != serial:
            return
        _, check, look = found
        if look.wake(now):
            yield LookAt(Place(*who, check_id, serial), patient.instance, check)

    def _note_critical(
        self,
        patient: _Patient,
        who: tuple[str, InstanceId],
        check: Check,
        status: CheckStatus,
        now: Instant,
    ) -> None:
        if status is not CheckStatus.CRITICAL or check.deregister_after is None:
            patient.critical.pop(check.id, None)
        elif check.id not in patient.critical:
            patient.critical[check.id] = now
            self._schedule(now + check.deregister_after, 0, who, check.id)

    def _expel(
        self, patient: _Patient, who: tuple[str, InstanceId], check_id: str, now: Instant
    ) -> Iterator[RoundsEffect]:
        check = next((x for x in patient.instance.checks if x.id == check_id), None)
        since = patient.critical.get(check_id)
        if since is None or check is None or check.deregister_after is None:
            return
        if now < since + check.deregister_after:
            return
        # Asked for again after as long, should it fail; nobody is ended while too many fell.
        patient.critical[check_id] = now
        self._schedule(now + check.deregister_after, 0, who, check_id)
        if not patient.instance.kept:
            span = format_duration(check.deregister_after)
            yield DeregisterCritical(*who, f"check {check_id} was critical for {span}")

    def _schedule(
        self, due: Instant | None, serial: int, who: tuple[str, InstanceId], check_id: str
    ) -> None:
        if due is not None:
            heappush(self._queue, (due, serial, who, check_id))
