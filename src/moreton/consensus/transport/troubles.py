"""What stands in the way of talking to each node, for those who look and those who listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport.errors import (
    ClockApart,
    NodeClaimedTwice,
    OtherCluster,
    WrongSecret,
)
from moreton.kernel.time import Clock, Instant

# What lasts comes again within seconds: connecting is tried that often.
_KEPT = timedelta(minutes=1)
# A node that makes ids up must not fill the memory.
_KEPT_MAX = 1000
# Of these the id may be that of a stranger, who must not hide what others are told of.
_UNPROVED = (OtherCluster, WrongSecret)
_UNPROVED_MAX = 500
# A connection that stands disproves every other trouble.
_LASTING = (ClockApart, NodeClaimedTwice)


class Troubles:
    """Remembers each trouble for a minute, and tells *report* of it when it begins."""

    def __init__(
        self, clock: Clock, report: Callable[[NodeId, ConsensusError], None] | None
    ) -> None:
        self._clock = clock
        self._report = report
        self._kept: dict[tuple[NodeId, str], tuple[Instant, ConsensusError]] = {}

    def note(self, node: NodeId, trouble: ConsensusError) -> None:
        """There is *trouble* with *node*."""
        self._drop_old()
        key = (node, trouble.code)
        is_new = key not in self._kept
        if is_new and not self._has_room(trouble):
            return
        self._kept[key] = (self._clock.now(), trouble)
        if is_new and self._report is not None:
            self._report(node, trouble)

    def clear(self, node: NodeId) -> None:
        """*node* was reached."""
        for key, (_, trouble) in list(self._kept.items()):
            if key[0] == node and not isinstance(trouble, _LASTING):
                del self._kept[key]

    def recent(self) -> Mapping[NodeId, list[ConsensusError]]:
        """What was noted within the last minute, by node."""
        self._drop_old()
        found: dict[NodeId, list[ConsensusError]] = {}
        for (node, _), (_, trouble) in self._kept.items():
            found.setdefault(node, []).append(trouble)
        return found

    def _has_room(self, trouble: ConsensusError) -> bool:
        if not isinstance(trouble, _UNPROVED):
            return len(self._kept) < _KEPT_MAX
        unproved = sum(isinstance(each, _UNPROVED) for _, each in self._kept.values())
        return unproved < _UNPROVED_MAX

    def _drop_old(self) -> None:
        now = self._clock.now()
        for key, (at, _) in list(self._kept.items()):
            if now - at > _KEPT:
                del self._kept[key]
