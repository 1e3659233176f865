"""One host's routes as a matcher tree: found by the longest prefix, however many there are.

A leaf holds, in order of rank, every route that could take a path whose longest key this is, those
of shorter keys included: Envoy does not go back to a shorter key once a leaf's action was taken. It
ends with the first route that takes them all.
A table's own routes stand before those of its *parent*, the table of the next wider host pattern,
which ends in the table of any host.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from xds.type.matcher.v3 import matcher_pb2

from moreton.envoy.messages import extension
from moreton.envoy.wire import Splice, delimited, digest, header, serialize
from moreton.gateway.compile.paths import PathPlan

_MATCHER = matcher_pb2.Matcher
_TREE = _MATCHER.MatcherTree
_MAP = _TREE.MatchMap
_INPUT = delimited(
    _TREE.INPUT_FIELD_NUMBER,
    serialize(extension("path", http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":path"))),
)
_ROUTE_TYPE = delimited(1, b"type.googleapis.com/envoy.config.route.v3.Route")
_LIST_TYPE = delimited(1, b"type.googleapis.com/envoy.config.route.v3.RouteList")
_ROUTES = routes_pb2.RouteList.ROUTES_FIELD_NUMBER
_ACTION_NAME = delimited(1, b"route")


@dataclass(frozen=True, slots=True)
class Entry:
    """A compiled route: where it stands among others, how it is found, its serialised `Route`."""

    order: tuple[object, ...]  # less is first; unique
    path: PathPlan
    body: bytes
    has_conditions: bool  # besides its path

    def hides_others(self, start: str) -> bool:
        """Whether no path that begins with *start* gets past this route."""
        return not self.has_conditions and self.path.takes_all(start)


_order = attrgetter("order")


class Table:
    """The routes of one host pattern, and the leaves of its tree, each serialised once."""

    def __init__(self) -> None:
        self.leaves = Splice()
        self.parent: Table | None = None
        self._own: dict[str, list[Entry]] = {}  # by key, in order
        self._lengths: Counter[int] = Counter()  # of the keys of one's own
        self._spoiled: list[Entry] = []  # what came and went since the last `refresh`
        self._all_spoiled = True
        self._catch_alls = 0  # routes of one's own that hide the parent's altogether
        self._touched: list[Entry] = []  # what came and went before it, the parents' too
        self._all_touched = False

    def __len__(self) -> int:
        return len(self._own)

    def adopt(self, parent: Table | None) -> None:
        """Take the routes of *parent* after one's own."""
        if parent is not self.parent:
            self.parent = parent
            self._all_spoiled = True

    def put(self, entry: Entry) -> None:
        """Add a route; it must not be there."""
        key = entry.path.key
        if key not in self._own:
            self._own[key] = []
            self._lengths[len(key)] += 1
        insort(self._own[key], entry, key=_order)
        self._spoil(entry, +1)

    def remove(self, entry: Entry) -> None:
        """Take a route out; it must be there."""
        key = entry.path.key
        self._own[key].remove(entry)
        if not self._own[key]:
            del self._own[key]
            self._lengths[len(key)] -= 1
            if not self._lengths[len(key)]:
                del self._lengths[len(key)]
        self._spoil(entry, -1)

    def refresh(self) -> None:
        """Bring the leaves up to date; the parent's must be."""
        self._touched, self._spoiled = self._spoiled, []
        self._all_touched, self._all_spoiled = self._all_spoiled, False
        wider = self._wider()
        if wider is not None:
            self._touched += wider._touched  # noqa: SLF001 - another of the same class
            self._all_touched |= wider._all_touched  # noqa: SLF001 - as above
        put, removed = {}, []
        for key in self._stale():
            leaf = self._leaf(key)
            if leaf is None:
                removed.append(key)
            elif self.leaves.get(key) != leaf:
                put[key] = leaf
        self.leaves.update(put, removed)

    def matcher_start(self) -> bytes:
        """The serialised `Matcher` up to the leaves, which are all that follows."""
        tree = _INPUT + header(_TREE.PREFIX_MATCH_MAP_FIELD_NUMBER, self.leaves.size)
        return header(_MATCHER.MATCHER_TREE_FIELD_NUMBER, len(tree) + self.leaves.size) + tree

    def _wider(self) -> Table | None:
        return None if self._catch_alls else self.parent

    def _spoil(self, entry: Entry, difference: int) -> None:
        self._spoiled.append(entry)
        if entry.hides_others("/"):
            self._catch_alls += difference
            self._all_spoiled = True

    def _stale(self) -> set[str]:
        """The keys whose leaves may differ from what they should be."""
        if self._all_touched:
            wider = self._wider()
            inherited = set() if wider is None else set(wider.leaves.keys_from(""))
            return inherited | self._own.keys() | set(self.leaves.keys_from(""))
        keys = set()
        for entry in self._touched:
            keys.add(entry.path.key)
            keys.update(filter(entry.path.may_take, self.leaves.keys_from(entry.path.key)))
        return keys

    def _leaf(self, key: str) -> tuple[bytes, bytes] | None:
        """The map's field for *key*, and its hash; `None` when the tree has no such key."""
        wider = self._wider()
        inherited = None if wider is None else wider.leaves.get(key)
        if key not in self._own and inherited is None:
            return None
        entries = self._own_entries(key)
        if not entries:
            return inherited
        found: dict[bytes, None] = {}
        for entry in chain(entries, self._inherited_entries(key)):
            found[entry.body] = None
            if entry.hides_others(key):
                break
        part = _leaf(key, list(found))
        return part, digest(part)

    def _own_entries(self, key: str) -> list[Entry]:
        own = self._own
        found = [
            entry
            for length in self._lengths
            if (start := key[:length]) in own and length <= len(key)
            for entry in own[start]
            if entry.path.may_take(key)
        ]
        if len(found) > 1:
            found.sort(key=_order)
        return found

    def _inherited_entries(self, key: str) -> Iterator[Entry]:
        wider = self._wider()
        if wider is not None:
            yield from wider._own_entries(key)  # noqa: SLF001 - another of the same class
            yield from wider._inherited_entries(key)  # noqa: SLF001 - as above


def _leaf(key: str, routes: list[bytes]) -> bytes:
    if len(routes) == 1:
        packed = _ROUTE_TYPE + delimited(2, routes[0])
    else:
        packed = _LIST_TYPE + delimited(2, b"".join(delimited(_ROUTES, one) for one in routes))
    action = _ACTION_NAME + delimited(2, packed)
    on_match = delimited(_MATCHER.OnMatch.ACTION_FIELD_NUMBER, action)
    return delimited(_MAP.MAP_FIELD_NUMBER, delimited(1, key.encode()) + delimited(2, on_match))
