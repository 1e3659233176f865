"""In which of a gateway's places the limits of some routes are: as few as can be in the same one.

A request passes all filters of the place that its route turns on. So rules are in one place only
if a route is under both of them, or if there are more groups of such rules than places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from zlib import crc32

# Each costs every request 60 instructions of Envoy's, a 2,700th part, whether there are limits.
PLACES = 8


def places(rules: Iterable[str], under: Iterable[Collection[str]]) -> dict[str, int]:
    """The place in [0, `PLACES`) of each of *rules*, where a route each is *under* some of them.

    Rules that are under the same route are in the same place. Others are apart while there are
    places, and where they are depends little on each other: a rule more leaves most where they are.
    """
    loads = [0] * PLACES
    found: dict[str, int] = {}
    for group in _groups(rules, under):
        first = crc32(group[0].encode()) % PLACES
        wanted = [(first + step) % PLACES for step in range(PLACES)]
        place = min(wanted, key=loads.__getitem__)
        loads[place] += len(group)
        found.update(dict.fromkeys(group, place))
    return found


def _groups(rules: Iterable[str], under: Iterable[Collection[str]]) -> list[list[str]]:
    """*rules* by what is connected; sorted, each and all."""
    group_of = {rule: [rule] for rule in sorted(rules)}
    for names in {frozenset(one) for one in under}:
        into, *others = [group_of[name] for name in sorted(names) if name in group_of] or [[]]
        for other in others:
            if group_of[other[0]] is not into:
                into.extend(other)
                group_of.update(dict.fromkeys(other, into))
    distinct = {id(group): sorted(group) for group in group_of.values()}
    return sorted(distinct.values())
