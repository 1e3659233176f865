"""The life of one service's stream: opened, told, broken, opened again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.registry.core.documents import decode
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.discovery.core.events import ServerEvent
from moreton.registry.discovery.core.known import Known, Snapshot

# A stream that breaks is opened again within this, at another node if there is one: the clients
# of a node that stopped do not come back as one.
PAUSE_FIRST = timedelta(milliseconds=200)
PAUSE_CAP = timedelta(seconds=5)
_DOUBLINGS_MAX = 16


class Phase(StrEnum):
    """Whether changes are being pushed."""

    SEEKING = "seeking"  # nothing was answered yet
    LIVE = "live"
    APART = "apart"  # no control plane answers: what was known last has to do


@dataclass(frozen=True, slots=True)
class StreamTold:
    """An event came."""

    event: ServerEvent


@dataclass(frozen=True, slots=True)
class StreamBroke:
    """The stream ended, or could not be opened."""

    reason: str


FollowingEvent: TypeAlias = StreamTold | StreamBroke


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Effect: open the stream, which begins with all there is."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Effect: these are the instances from now on."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Announce:
    """Effect: tell people that *phase* was entered, or why it is not left."""

    phase: Phase
    reason: str


FollowingEffect: TypeAlias = OpenStream | Publish | Announce


class Following:
    """Keeps what is known of one service up to date for as long as somebody tells it.

    While nobody does, what is known stays. Each stream begins with a list, so that nothing which
    happened meanwhile is missed.
    """

    def __init__(
        self, service: str, *, rng: Rng, now: Instant, remembered: Snapshot | None = None
    ) -> None:
        self.phase = Phase.SEEKING
        self.trouble = ""
        self._service = service
        self._rng = rng
        self._known = Known()
        self._revision = 0
        if remembered is not None:
            self._known.instances = {each.id: each for each in remembered.instances}
        self._broken = 0  # times in a row
        self._is_after_gap = True
        self._open_at: Instant | None = now
        self._is_answered = remembered is not None

    @property
    def is_answered(self) -> bool:
        """Whether anything is known, even if only that there is no instance."""
        return self._is_answered

    def snapshot(self) -> Snapshot:
        """What is known now."""
        return Snapshot(
            service=self._service,
            instances=tuple(each for _, each in sorted(self._known.instances.items())),
            doubted=frozenset(self._known.doubted),
            revision=self._revision,
            is_live=self.phase is Phase.LIVE,
        )

    def handle(self, event: FollowingEvent, now: Instant) -> Sequence[FollowingEffect]:
        """What follows from *event*."""
        match event:
            case StreamTold(told):
                return self._told(told, now)
            case StreamBroke(reason):
                return self._broke(reason, now)
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> Sequence[FollowingEffect]:
        """Open the stream when it is time; let go of what was in doubt for long."""
        effects = list(self.end_doubt(now))
        if self._open_at is not None and now >= self._open_at:
            self._open_at = None
            self._is_after_gap = True
            effects.append(OpenStream())
        return effects

    def deadline(self) -> Instant | None:
        """When something is to be done without being told."""
        moments = [at for at in (self._open_at, self.doubt_ends) if at is not None]
        return min(moments, default=None)

    @property
    def doubt_ends(self) -> Instant | None:
        """When what is in doubt is let go of; `None` if nothing is."""
        return self._known.doubt_ends

    def end_doubt(self, now: Instant) -> Sequence[FollowingEffect]:
        """As `wake`, while a stream is open and nothing but the doubt can be due."""
        return (Publish(self.snapshot()),) if self._known.wake(now) else ()

    def _told(self, event: ServerEvent, now: Instant) -> Sequence[FollowingEffect]:
        if not self._take(event, now):
            return ()
        self._broken = 0
        self._is_answered = True
        announced = self._announce(Phase.LIVE, "")
        return (*announced, Publish(self.snapshot()))

    def _take(self, event: ServerEvent, now: Instant) -> bool:
        """Whether *event* is one of ours: what a later version adds is skipped."""
        try:
            document = json.loads(event.data)
            match event.name:
                case "listed":
                    found = (_instance(each) for each in document["instances"])
                    instances = [each for each in found if each is not None]
                    self._known.listed(instances, now, after_gap=self._is_after_gap)
                    # A later one in the same stream is of a registry that never went away.
                    self._is_after_gap = False
                case "registered" | "updated":
                    instance = _instance(document["instance"])
                    if instance is not None:
                        self._known.put(instance)
                case "removed":
                    self._known.remove(InstanceId(document["id"]))
                case _:
                    return False
            self._revision = int(document["revision"])
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def _broke(self, reason: str, now: Instant) -> Sequence[FollowingEffect]:
        cap = min(PAUSE_CAP, PAUSE_FIRST * 2 ** min(self._broken, _DOUBLINGS_MAX))
        self._broken += 1
        self._open_at = now + cap * self._rng.random()
        # Who never was answered goes on seeking.
        phase = Phase.APART if self._is_answered else Phase.SEEKING
        announced = self._announce(phase, reason)
        if not (announced and self._is_answered):
            return announced
        return (*announced, Publish(self.snapshot()))

    def _announce(self, phase: Phase, reason: str) -> tuple[Announce, ...]:
        if self.phase is phase and self.trouble == reason:
            return ()
        self.phase, self.trouble = phase, reason
        return (Announce(phase, reason),)


def _instance(document: Any) -> Instance | None:
    return decode(json.dumps(document).encode())
