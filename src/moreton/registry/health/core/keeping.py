"""Who fell for good: evidence about the instances that may be kept in use though they fell.

An instance fell when its lease ended or its checks fail. While nobody has made sure that it fell
alone it is counted, and with too many others it is kept in use (`moreton.registry.core.fold`).
This machine makes sure: it knocks at the fallen, and at some that live, for what the fallen say
counts only if those that live answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from heapq import heappop, heappush
from typing import TypeAlias, assert_never

from moreton.kernel.time import Instant
from moreton.registry.core.instance import Instance, InstanceId

# Who fell within this of each other fell at once.
AT_ONCE = timedelta(seconds=30)
KNOCK_FIRST = timedelta(seconds=1)
KNOCK_MAX = timedelta(seconds=10)
# So many silences in a row, while others of the service answer, are an answer.
SILENCES = 3
# So many of those that live are asked, for the sake of comparison.
SURVIVORS_MAX = 3
SURVIVORS_EVERY = timedelta(seconds=5)
# Nobody is kept in use longer: who does not answer, and who answers and does not register again,
# as its place may have been taken by another program.
SILENT_MAX = timedelta(minutes=10)
OPEN_MAX = timedelta(hours=1)


class Answer(StrEnum):
    """What came of knocking at an instance's port."""

    OPEN = "open"  # the connection was accepted
    REFUSED = "refused"  # the machine is there, and nothing listens
    SILENT = "silent"  # nothing came back in time


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """Who of *service* fell; *replaced*: whose address another one has by now.

    *living* are some of those in use that did not fall.
    """

    service: str
    fallen: Mapping[InstanceId, Instance]
    replaced: frozenset[InstanceId]
    living: tuple[Instance, ...]
    is_protected: bool
    registered: frozenset[InstanceId]  # of the fallen


@dataclass(frozen=True, slots=True)
class Knocked:
    """What came of a `Knock`."""

    service: str
    id: InstanceId
    answer: Answer


KeepingEvent: TypeAlias = ServiceSeen | Knocked


@dataclass(frozen=True, slots=True)
class Knock:
    """Effect: try to connect to *instance*; answer with `Knocked`."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class LetGo:
    """Effect: the instance fell for good, because of *why*."""

    service: str
    id: InstanceId
    why: str


KeepingEffect: TypeAlias = Knock | LetGo


@dataclass(slots=True)
class _Fallen:
    instance: Instance
    since: Instant
    due: Instant | None
    registered: bool = False
    pause: timedelta = KNOCK_FIRST
    last: Answer | None = None
    silences: int = 0


@dataclass(slots=True)
class _Service:
    fallen: dict[InstanceId, _Fallen] = field(default_factory=dict)
    # What those that live said; `None`: nothing yet.
    survivors: dict[InstanceId, Answer | None] = field(default_factory=dict)
    living: tuple[Instance, ...] = ()
    asked: Instant | None = None
    is_protected: bool = False
    someone_open: bool = False

    def sees(self) -> bool:
        """Whether anyone of the service answers us."""
        return self.someone_open or Answer.OPEN in self.survivors.values()

    def is_unsure(self) -> bool:
        """Whether those that live have not said yet that they can be reached, or cannot be."""
        return bool(self.survivors) and Answer.OPEN not in self.survivors.values()


class Keeping:
    """Knocks at who fell until it is let go, or back; a step costs O(log n) for each of them."""

    def __init__(self) -> None:
        self._services: dict[str, _Service] = {}
        self._queue: list[tuple[Instant, str, InstanceId]] = []

    def handle(self, event: KeepingEvent, now: Instant) -> Sequence[KeepingEffect]:
        """What follows from *event*."""
        match event:
            case ServiceSeen():
                return list(self._see(event, now))
            case Knocked(service, instance_id, answer):
                return list(self._knocked(service, instance_id, answer, now))
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> Sequence[KeepingEffect]:
        """Knock where it is time to."""
        effects: list[KeepingEffect] = []
        while self._queue and self._queue[0][0] <= now:
            _, name, instance_id = heappop(self._queue)
            service = self._services.get(name)
            fallen = None if service is None else service.fallen.get(instance_id)
            if fallen is None or fallen.due is None or fallen.due > now:
                continue
            fallen.due = None
            effects.append(Knock(fallen.instance))
        return effects

    def deadline(self) -> Instant | None:
        """No later than the next knock."""
        return self._queue[0][0] if self._queue else None

    def _see(self, seen: ServiceSeen, now: Instant) -> Iterator[KeepingEffect]:
        if not seen.fallen:
            self._services.pop(seen.service, None)
            return
        service = self._services.setdefault(seen.service, _Service())
        service.is_protected = seen.is_protected
        service.living = seen.living
        for gone in service.fallen.keys() - seen.fallen.keys():
            del service.fallen[gone]
        for fell in service.survivors.keys() & seen.fallen.keys():
            del service.survivors[fell]
        for instance_id, instance in seen.fallen.items():
            if instance_id in seen.replaced:
                why = f"another instance is at {instance.endpoint} by now"
                yield LetGo(seen.service, instance_id, why)
                continue
            fallen = service.fallen.get(instance_id)
            if fallen is None:
                fallen = service.fallen[instance_id] = _Fallen(instance, now, now)
                heappush(self._queue, (now, seen.service, instance_id))
            fallen.registered = instance_id in seen.registered
        yield from _ask_survivors(service, now)

    def _knocked(
        self, name: str, instance_id: InstanceId, answer: Answer, now: Instant
    ) -> Iterator[KeepingEffect]:
        service = self._services.get(name)
        if service is None:
            return
        service.someone_open |= answer is Answer.OPEN
        if instance_id in service.survivors:
            service.survivors[instance_id] = answer
            for each in list(service.fallen):
                yield from _judge(service, each, now)
        fallen = service.fallen.get(instance_id)
        if fallen is None:
            return
        fallen.last = answer
        fallen.silences = 0 if answer is Answer.OPEN else fallen.silences + 1
        fallen.due = now + fallen.pause
        fallen.pause = min(fallen.pause * 2, KNOCK_MAX)
        heappush(self._queue, (fallen.due, name, instance_id))
        yield from _judge(service, instance_id, now)
        yield from _ask_survivors(service, now)


def _ask_survivors(service: _Service, now: Instant) -> Iterator[KeepingEffect]:
    """Ask some that live, now and then, as long as they have not said that they can be reached."""
    if service.asked is not None and not service.is_unsure():
        return
    if service.asked is not None and now - service.asked < SURVIVORS_EVERY:
        return
    service.asked = now
    service.survivors = {each.id: None for each in service.living[:SURVIVORS_MAX]}
    yield from map(Knock, service.living[:SURVIVORS_MAX])


def _judge(service: _Service, instance_id: InstanceId, now: Instant) -> Iterator[KeepingEffect]:
    fallen = service.fallen[instance_id]
    why = _verdict(service, fallen, now - fallen.since)
    if why:
        yield LetGo(fallen.instance.service, instance_id, why)


def _verdict(service: _Service, fallen: _Fallen, age: timedelta) -> str:
    """Why it fell for good; empty while that is not sure."""
    where = fallen.instance.endpoint
    if fallen.last is Answer.REFUSED and not service.is_unsure():
        return f"nothing listens at {where} any more"
    if fallen.last is not Answer.OPEN:
        if fallen.silences >= SILENCES and service.sees():
            return f"{where} does not answer, and others of its service do"
        if age >= SILENT_MAX:
            return f"{where} does not answer for too long"
    if age >= AT_ONCE and not service.is_protected:
        return "few others fell with it"
    if age >= OPEN_MAX and not fallen.registered:
        return f"{where} answers, and does not register again"
    return ""
