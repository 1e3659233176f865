"""Which objects the proxies have proven good, and who is suspected when a proxy refuses.

A refusal of a route table does not say which route is at fault, and an acknowledgement says that
all of it is good. So every publication of a resource remembers what changed in it: the routes that
changed since the last acknowledged publication are the suspects.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from moreton.controlplane.core.objects import ObjectKey, Value

# Publications remembered per resource while none is acknowledged; older ones are merged.
_UNPROVEN_MAX = 64


@dataclass(slots=True)
class _Publication:
    version: str
    before: dict[ObjectKey, Value | None]  # the value in force when the object was changed


@dataclass(slots=True)
class Proving:
    """The unproven publications of every resource, oldest first."""

    _unproven: dict[Hashable, list[_Publication]] = field(default_factory=dict)

    def published(
        self, resource: Hashable, version: str, before: Mapping[ObjectKey, Value | None]
    ) -> None:
        """*resource* was published as *version*; *before* has the former value of what changed."""
        publications = self._unproven.setdefault(resource, [])
        publications.append(_Publication(version, dict(before)))
        if len(publications) > _UNPROVEN_MAX:
            oldest, second = publications[0], publications[1]
            publications[:2] = [_Publication(second.version, second.before | oldest.before)]

    def waiting(self) -> Iterator[Hashable]:
        """The resources that have an unproven publication; safe against changes meanwhile."""
        yield from list(self._unproven)

    def acknowledged(self, resource: Hashable, version: str) -> set[ObjectKey]:
        """Every proxy has *version*: the objects that this proves good."""
        publications = self._unproven.get(resource, [])
        upto = _last(publications, version)
        if upto is None:
            return set()
        proven = {key for publication in publications[: upto + 1] for key in publication.before}
        del publications[: upto + 1]
        if not publications:
            del self._unproven[resource]
        return proven - self.suspects(resource).keys()

    def suspects(
        self, resource: Hashable, version: str | None = None
    ) -> dict[ObjectKey, Value | None]:
        """The objects not proven good in *version* (else in the newest), each with its last good.

        Newest change first: that is where to look.
        """
        publications = self._unproven.get(resource, [])
        upto = len(publications) - 1 if version is None else _last(publications, version)
        if upto is None:
            return {}
        last_good: dict[ObjectKey, Value | None] = {}
        for publication in reversed(publications[: upto + 1]):
            # The oldest publication's value wins, the newest one's place.
            last_good.update(publication.before)
        return last_good

    def is_unproven(self, resource: Hashable, key: ObjectKey) -> bool:
        """Whether *resource* was published with a change of *key* that no proxy proved yet."""
        return any(key in publication.before for publication in self._unproven.get(resource, ()))

    def drop(self, resource: Hashable) -> None:
        """*resource* is published no more."""
        self._unproven.pop(resource, None)

    def forget(self, resource: Hashable, keys: Iterable[ObjectKey]) -> None:
        """*keys* were taken back to their last good: they are suspects no more."""
        gone = set(keys)
        for publication in self._unproven.get(resource, ()):
            for key in gone & publication.before.keys():
                del publication.before[key]


def _last(publications: list[_Publication], version: str) -> int | None:
    for index in range(len(publications) - 1, -1, -1):
        if publications[index].version == version:
            return index
    return None
