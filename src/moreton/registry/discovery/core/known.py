"""What one client knows of a service, kept through gaps, outages and registries that forgot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from moreton.kernel.time import Instant
from moreton.registry.core.instance import Instance, InstanceId

# A registry that comes back without its memory is told of an instance within its ttl, which is
# 10 s unless said otherwise, and its owner's pause between attempts, 5 s.
DOUBT = timedelta(seconds=15)
# What a list after a gap may take away at once: more is taken for a registry that forgot.
VANISHED_SHARE_MAX = 0.5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The instances of *service* in order of ids, as of *revision* of the registry's store.

    *doubted*: those that the last list lacked. *is_live*: changes are being pushed now; else this
    is what was known last.
    """

    service: str
    instances: tuple[Instance, ...] = ()
    doubted: frozenset[InstanceId] = frozenset()
    revision: int = 0
    is_live: bool = False


@dataclass(slots=True)
class Known:
    """The instances of one service, and which of them are in doubt.

    A list replaces all, with one exception: when the first one after a gap lacks more than half of
    what was known, those that it lacks stay for a while, in doubt. A registry that lost its memory
    looks just so, and calls to what is really gone are tried elsewhere anyway. Nothing that was
    removed comes back by itself.
    """

    instances: dict[InstanceId, Instance] = field(default_factory=dict)
    doubted: set[InstanceId] = field(default_factory=set)
    doubt_ends: Instant | None = None

    def listed(self, instances: Iterable[Instance], now: Instant, *, after_gap: bool) -> None:
        """All there is, as the registry has it; *after_gap*: it may be another one than before."""
        found = {each.id: each for each in instances}
        missing = self.instances.keys() - found.keys()
        if after_gap and len(missing) > VANISHED_SHARE_MAX * len(self.instances):
            # The first doubt counts: lists that come again and again do not prolong it.
            if self.doubt_ends is None:
                self.doubt_ends = now + DOUBT
            found |= {each: self.instances[each] for each in missing}
            self.doubted = missing
        else:
            self._trust()
        self.instances = found

    def put(self, instance: Instance) -> None:
        """An instance appeared or changed."""
        self.instances[instance.id] = instance
        self.doubted.discard(instance.id)
        if not self.doubted:
            self._trust()

    def remove(self, instance_id: InstanceId) -> None:
        """An instance is gone."""
        self.instances.pop(instance_id, None)
        self.doubted.discard(instance_id)
        if not self.doubted:
            self._trust()

    def wake(self, now: Instant) -> bool:
        """Drop what was in doubt for long enough; whether anything was."""
        if self.doubt_ends is None or now < self.doubt_ends:
            return False
        for each in self.doubted:
            self.instances.pop(each, None)
        self._trust()
        return True

    def _trust(self) -> None:
        self.doubted = set()
        self.doubt_ends = None
