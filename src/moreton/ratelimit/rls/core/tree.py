"""The tree of descriptors of a domain, and which threshold a request's descriptor meets.

As envoyproxy/ratelimit has it: a descriptor is looked up entry by entry, at each level first by key
and value, then by the wildcards in the order of the file, then by the key alone; it meets a
threshold only where it ends exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from moreton.ratelimit.core.fields import FieldStyle
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.rls.core.wildcards import Wildcard

Entry = tuple[str, str]
COUNT_MAX = 2**32 - 1  # of the protocol


class Unit(StrEnum):
    """The period of a threshold, as the protocol names it."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


# A month has 30 days and a year 365, since 1970: that is how envoyproxy/ratelimit counts.
SECONDS = {
    Unit.SECOND: 1,
    Unit.MINUTE: 60,
    Unit.HOUR: 3_600,
    Unit.DAY: 86_400,
    Unit.WEEK: 7 * 86_400,
    Unit.MONTH: 30 * 86_400,
    Unit.YEAR: 365 * 86_400,
}


@dataclass(frozen=True, slots=True)
class Away:
    """While the store is away: a share *refuse* of the requests is refused.

    Or each process decides *alone*, by that share in (0, 1] of the limit.
    """

    refuse: float = 0.0
    alone: float | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a descriptor may: *limit*, or nothing at all, or anything when it is *unlimited*.

    In the answer it is *count* in a *unit*. One that is *shadow* counts and never refuses; those of
    *quota* refuse only when all of a request are over. A request that meets one which *replaces* a
    name does not count for the threshold of that *name*. *patience_nanos* is how long a request may
    be made to wait for its turn. One that *drains* counts what it refuses, too; a *report* counts
    what has happened already, and refuses nothing. A *share* in [0, 1] of the requests is held to
    it. Without *away* the asker hears that the store is away while it is. *style* is in which words
    clients are told, where it is not as for all; at most *queue* requests of its *name* wait.
    """

    limit: Limit | None
    count: int
    unit: Unit | None = None
    multiplier: int = 1  # of the unit
    unlimited: bool = False
    name: str = ""
    replaces: frozenset[str] = frozenset()
    shadow: bool = False
    quota: bool = False
    detailed: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    drains: bool = True
    report: bool = False
    patience_nanos: int = 0
    queue: int | None = None
    share: float = 1.0
    away: Away | None = None
    style: FieldStyle | None = None

    @property
    def banned(self) -> bool:
        """Whether nothing passes."""
        return self.limit is None and not self.unlimited


@dataclass(frozen=True, slots=True)
class Node:
    """A level of descriptors; *children* by `key_value`, `key_pattern*` or `key`."""

    children: Mapping[str, Node] = field(default_factory=dict)
    wildcards: Sequence[tuple[str, Wildcard]] = ()
    threshold: Threshold | None = None
    value_in_metric: bool = False
    shared: bool = False

    def child(self, entry: Entry) -> tuple[str, Node | None]:
        """The name of the child that *entry* leads to, and the child."""
        key, value = entry
        name = f"{key}_{value}"
        found = self.children.get(name)
        if found is not None:
            return name, found
        for pattern, wildcard in self.wildcards:
            if wildcard.matches(name):
                return pattern, self.children[pattern]
        return key, self.children.get(key)


@dataclass(frozen=True, slots=True)
class Match:
    """The *threshold* of a descriptor, and by what it is counted and told of.

    *counted* are its entries, with the pattern in place of a value where all values share.
    """

    threshold: Threshold
    metric: str
    counted: tuple[Entry, ...]


def find(domain: str, root: Node, entries: Sequence[Entry]) -> Match | None:
    """What a descriptor of *entries* meets in *domain*; `None` when nothing limits it."""
    node = root
    metric, counted = [domain], []
    threshold: Threshold | None = None
    for entry in entries:
        threshold = None
        name, child = node.child(entry)
        if child is None:
            return None
        value = _shown(entry, name, child)
        metric.append(f"{entry[0]}_{value}" if value else entry[0])
        is_wildcard = name not in {entry[0], f"{entry[0]}_{entry[1]}"}
        shares = is_wildcard and child.shared
        counted.append((entry[0], _pattern(entry, name) if shares else entry[1]))
        threshold = child.threshold
        node = child
    if threshold is None:
        return None
    found = tuple(counted)
    if threshold.detailed:
        metric = [domain, *(f"{key}_{value}" for key, value in found)]
    return Match(threshold, ".".join(metric), found)


def _shown(entry: Entry, name: str, child: Node) -> str:
    """What a metric says of the value of *entry*, which led to *child* called *name*."""
    key, value = entry
    if name == f"{key}_{value}":
        return value
    if name == key:
        return value if child.value_in_metric else ""
    if child.value_in_metric and not child.shared:
        return value
    return _pattern(entry, name)


def _pattern(entry: Entry, name: str) -> str:
    return name.removeprefix(f"{entry[0]}_")
