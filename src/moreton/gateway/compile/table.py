"""One host's routes as a matcher tree: found by the longest prefix, however many there are.

A leaf holds, in order of rank, every route that could take a path whose longest key this is, those
of shorter keys included: Envoy does not go back to a shorter key once a leaf's action was taken.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

from envoy.config.core.v3 import extension_pb2
from envoy.type.matcher.v3 import http_inputs_pb2

from moreton.envoy.wire import content_hash, delimited, serialize
from moreton.gateway.compile.actions import any_of

_ROUTE_LIST = b"type.googleapis.com/envoy.config.route.v3.RouteList"
_PATH_INPUT = serialize(
    extension_pb2.TypedExtensionConfig(
        name="path",
        typed_config=any_of(http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":path")),
    )
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A compiled route: its *rank* (less is better), its tree *key*, its serialised `Route`."""

    rank: tuple[object, ...]
    key: str
    body: bytes


@dataclass(slots=True)
class Table:
    """The routes of one virtual host, and its leaves, each serialised once."""

    entries: dict[str, Entry] = field(default_factory=dict)
    _by_key: dict[str, list[tuple[tuple[object, ...], str]]] = field(default_factory=dict)
    _keys: list[str] = field(default_factory=list)
    _leaves: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)  # field, its hash

    def put(self, name: str, entry: Entry) -> None:
        """Add or replace a route."""
        self.remove(name)
        self.entries[name] = entry
        if entry.key not in self._by_key:
            self._by_key[entry.key] = []
            insort(self._keys, entry.key)
        insort(self._by_key[entry.key], (entry.rank, name))
        self._spoil(entry.key)

    def remove(self, name: str) -> None:
        """Take a route out; nothing when it is not there."""
        entry = self.entries.pop(name, None)
        if entry is None:
            return
        self._by_key[entry.key].remove((entry.rank, name))
        self._spoil(entry.key)
        if not self._by_key[entry.key]:
            del self._by_key[entry.key]
            self._keys.remove(entry.key)

    def matcher(self) -> tuple[bytes, str]:
        """The serialised `Matcher`, and a hash of it."""
        parts, hashes = [], []
        for key in self._keys:
            leaf = self._leaves.get(key)
            if leaf is None:
                leaf = self._leaves[key] = self._leaf(key)
            parts.append(leaf[0])
            hashes.append(leaf[1])
        # Matcher.matcher_tree = 2 { input = 1, prefix_match_map = 3 { map = 1 } }
        tree = delimited(1, _PATH_INPUT) + delimited(3, b"".join(parts))
        return delimited(2, tree), content_hash(*hashes)

    def _spoil(self, key: str) -> None:
        if key == "/":
            self._leaves.clear()
            return
        for other in self._keys_below(key):
            self._leaves.pop(other, None)
        self._leaves.pop(key, None)

    def _keys_below(self, key: str) -> Iterable[str]:
        start = bisect_left(self._keys, key)
        for index in range(start, len(self._keys)):
            if not self._keys[index].startswith(key):
                return
            yield self._keys[index]

    def _leaf(self, key: str) -> tuple[bytes, bytes]:
        ranked = sorted(pair for prefix in self._prefixes(key) for pair in self._by_key[prefix])
        routes = b"".join(delimited(1, self.entries[name].body) for _, name in ranked)
        packed = delimited(1, _ROUTE_LIST) + delimited(2, routes)
        action = delimited(1, b"routes") + delimited(2, packed)
        on_match = delimited(2, action)  # OnMatch.action = 2
        body = delimited(1, key.encode()) + delimited(2, on_match)
        return delimited(1, body), content_hash(body).encode()

    def _prefixes(self, key: str) -> Iterable[str]:
        return (key[:end] for end in range(1, len(key) + 1) if key[:end] in self._by_key)
