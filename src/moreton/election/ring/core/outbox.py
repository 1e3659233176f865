"""The frames that are not acknowledged yet, and the neighbours that did not acknowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from moreton.election.ring.core.errors import NotAMember
from moreton.election.ring.core.frames import Carry, Frame, Timings
from moreton.election.ring.core.ring import Direction, Uid, check_unique
from moreton.kernel.time import Instant


class Neighbours:
    """The members in clockwise order as *uid* sees them: the successor list is all of them.

    Raises `DuplicateUid`, `NotAMember`.
    """

    def __init__(self, uid: Uid, ring: Sequence[Uid]) -> None:
        check_unique(ring)
        if uid not in ring:
            raise NotAMember(uid=str(uid), members=len(ring))
        self.uid = uid
        self.ring = tuple(ring)
        self.suspects: set[Uid] = set()
        self._position = self.ring.index(uid)

    def next(self, direction: Direction) -> Uid:
        """The next member that way that is not suspected; oneself when all others are."""
        return self._until_live(direction)[-1]

    def to_ping(self) -> tuple[Sequence[Uid], Uid | None]:
        """The suspected ones just ahead, which may be back, and the successor if there is one."""
        *skipped, successor = self._until_live(Direction.CLOCKWISE)
        return skipped, None if successor == self.uid else successor

    def _until_live(self, direction: Direction) -> list[Uid]:
        step = 1 if direction is Direction.CLOCKWISE else -1
        passed = []
        for distance in range(1, len(self.ring) + 1):
            member = self.ring[(self._position + step * distance) % len(self.ring)]
            passed.append(member)
            if member not in self.suspects:
                break
        return passed


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame that its target has not acknowledged."""

    target: Uid
    to: Direction | Uid
    frame: Frame
    due: Instant
    attempt: int


class Outbox:
    """Says which frames to send again, and whose silence has lasted too long."""

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._waiting: dict[int, Waiting] = {}

    def put(self, target: Uid, to: Direction | Uid, frame: Frame, now: Instant) -> None:
        """Wait for the acknowledgement of *frame*, just sent to *target*."""
        due = now + self._timings.acknowledge
        self._waiting[frame.seq] = Waiting(target, to, frame, due, 1)

    def acknowledged(self, seq: int, source: Uid) -> None:
        """*source* has frame *seq*."""
        waiting = self._waiting.get(seq)
        if waiting is not None and waiting.target == source:
            del self._waiting[seq]

    def awaits(self, target: Uid) -> bool:
        """Whether *target* has yet to acknowledge something."""
        return any(waiting.target == target for waiting in self._waiting.values())

    def due_again(self, now: Instant) -> tuple[list[Waiting], set[Uid]]:
        """What to send once more, and who has let all attempts pass."""
        again, silent = [], set()
        for seq, waiting in list(self._waiting.items()):
            if waiting.due > now:
                continue
            if waiting.attempt >= self._timings.attempts:
                silent.add(waiting.target)
                continue
            due = now + self._timings.acknowledge
            self._waiting[seq] = replace(waiting, due=due, attempt=waiting.attempt + 1)
            again.append(self._waiting[seq])
        return again, silent

    def take_back(self, target: Uid) -> list[tuple[Direction, Carry]]:
        """Stop waiting for *target*; what was only to go its way, for whoever is next."""
        taken = [self._waiting.pop(s) for s, w in list(self._waiting.items()) if w.target == target]
        return [
            (waiting.to, waiting.frame)
            for waiting in taken
            if isinstance(waiting.to, Direction) and isinstance(waiting.frame, Carry)
        ]

    def forget_carried(self) -> None:
        """The election is over: only pings are still waited for."""
        carried = [s for s, w in self._waiting.items() if isinstance(w.frame, Carry)]
        for seq in carried:
            del self._waiting[seq]

    def deadline(self) -> Instant | None:
        """When `due_again` has something to say."""
        return min((waiting.due for waiting in self._waiting.values()), default=None)
