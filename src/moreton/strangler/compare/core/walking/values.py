"""Compares what JSON and forms hold."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import islice
from typing import Any

from moreton.strangler.compare.core.differences import Kind
from moreton.strangler.compare.core.paths import member
from moreton.strangler.compare.core.walking.finding import Findings
from moreton.strangler.compare.core.walking.sequences import (
    Pair,
    aligned,
    by_place,
    rearranged,
)

# Each level of arrays in arrays looks at all that is below it before it aligns its items; deeper
# ones are taken by their places, so that a hostile body costs no more than its size.
NESTED_MAX = 8
_ABSENT = object()
_NAMES = {
    dict: "an object", list: "an array", str: "a text", int: "a number", float: "a number",
    bool: "a boolean", type(None): "null",
}  # fmt: skip


def compare_values(primary: Any, candidate: Any, found: Findings, root: str = "$") -> None:
    """Tells *found* where two values of JSON differ: O(n), and no copy of what is the same.

    `1`, `1.0` and `true` are three things, as they are for those who read JSON with types.
    """
    _Walk(found, root).value(primary, candidate)


def token(value: Any) -> Hashable:
    """The same for two values if and only if nothing in them differs."""
    if isinstance(value, dict):
        return frozenset((key, token(one)) for key, one in value.items())
    if isinstance(value, list):
        return tuple(map(token, value))
    return (type(value), value)


class _Walk:
    def __init__(self, found: Findings, root: str) -> None:
        self._found = found
        self._trail = [root]  # the steps to where the walk is, as paths have them
        self._nested = 0  # arrays in arrays that are being aligned

    def value(self, a: Any, b: Any) -> None:
        kind = type(a)
        if kind is not type(b):
            self._other_type(a, b)
        elif kind is dict:
            self._object(a, b)
        elif kind is list:
            self._array(a, b)
        elif a != b:
            self._found.add("".join(self._trail), Kind.VALUE, a, b)

    def _object(self, a: dict[str, Any], b: dict[str, Any]) -> None:
        trail, theirs, shared = self._trail, b.get, len(a)
        for key, one in a.items():
            other = theirs(key, _ABSENT)
            if one is other:
                continue
            kind = type(one)
            # Not `==` of what holds more: each level down would compare all below it once again.
            if kind is str:
                if one == other:
                    continue
            elif kind is list:
                if _same_scalars(one, other):
                    continue
            elif kind is not dict and one == other and kind is type(other):
                continue
            trail.append(member(key))
            if other is _ABSENT:
                shared -= 1
                self._found.missing("".join(trail), one)
            elif kind is str and type(other) is str:
                self._found.add("".join(trail), Kind.VALUE, one, other)
            else:
                self.value(one, other)
            trail.pop()
        if shared != len(b):
            for key in [key for key in b if key not in a]:
                trail.append(member(key))
                self._found.surplus("".join(trail), b[key])
                trail.pop()

    def _array(self, a: list[Any], b: list[Any]) -> None:
        if self._found.full:
            return
        if self._nested >= NESTED_MAX:
            self._pairs(a, b, by_place(len(a), len(b)))
            return
        parts = [
            index
            for index, (one, other) in enumerate(zip(a, b, strict=False))
            # Equal is not yet the same, but what is not equal is told in less time.
            if one != other or not _same(one, other)
        ]
        if parts or len(a) != len(b):
            self._nested += 1
            self._different_arrays(a, b, parts)
            self._nested -= 1

    def _different_arrays(self, a: list[Any], b: list[Any], parts: list[int]) -> None:
        path = "".join(self._trail)
        sort = self._found.rules.sort(path)
        if sort is not None and sort.by:
            self._by_key(a, b, sort.by)
            return
        if sort is None and not _moved(a, b, parts):
            if len(a) != len(b):
                self._found.add(path, Kind.SIZE, f"{len(a)} items", f"{len(b)} items")
            self._pairs(a, b, [(index, index) for index in parts])
            self._pairs(a, b, islice(by_place(len(a), len(b)), min(len(a), len(b)), None))
            return
        ours, theirs = [token(one) for one in a], [token(one) for one in b]
        if rearranged(ours, theirs):
            self._found.add(path, Kind.ORDER, a, b)
            return
        if len(a) != len(b):
            self._found.add(path, Kind.SIZE, f"{len(a)} items", f"{len(b)} items")
        if sort is not None:
            self._unordered(a, b, ours, theirs)
        else:
            self._pairs(a, b, aligned(ours, theirs))

    def _unordered(
        self, a: list[Any], b: list[Any], ours: list[Hashable], theirs: list[Hashable]
    ) -> None:
        left = dict.fromkeys(range(len(theirs)))
        places: dict[Hashable, list[int]] = {}
        for index, one in enumerate(theirs):
            places.setdefault(one, []).append(index)
        alone = []
        for index, one in enumerate(ours):
            if places.get(one):
                del left[places[one].pop()]
            else:
                alone.append(index)
        rest = list(left)
        pairs: list[Pair] = list(zip(alone, rest, strict=False))
        pairs += [(index, None) for index in alone[len(rest) :]]
        pairs += [(None, index) for index in rest[len(alone) :]]
        self._pairs(a, b, pairs)

    def _by_key(self, a: list[Any], b: list[Any], by: str) -> None:
        theirs: dict[Hashable, list[int]] = {}
        for index, one in enumerate(b):
            theirs.setdefault(_key(one, by, index), []).append(index)
        pairs: list[Pair] = []
        for index, one in enumerate(a):
            places = theirs.get(_key(one, by, index))
            pairs.append((index, places.pop(0) if places else None))
        pairs += [(None, index) for places in theirs.values() for index in places]
        self._pairs(a, b, pairs)

    def _pairs(self, a: list[Any], b: list[Any], pairs: Iterable[Pair]) -> None:
        trail, found = self._trail, self._found
        for one, other in pairs:
            if found.full:
                return
            trail.append(f"[{other if one is None else one}]")
            if one is not None and other is not None:
                self.value(a[one], b[other])
            elif one is not None:
                found.missing("".join(trail), a[one])
            elif other is not None:
                found.surplus("".join(trail), b[other])
            trail.pop()

    def _other_type(self, a: Any, b: Any) -> None:
        self._found.add("".join(self._trail), Kind.TYPE, _typed(a), _typed(b))


def _moved(a: list[Any], b: list[Any], parts: Sequence[int]) -> bool:
    """Whether an item of one list may be elsewhere in the other, so that it pays to align them.

    Asked of the outermost items that differ: where all items carry noise, nothing is found again.
    """
    if len(a) == len(b) and len(parts) == 1:
        return False
    if not parts:  # one list goes on where the other ends
        return False
    ends = {parts[0], parts[-1]}
    return any(a[index] in b or b[index] in a for index in ends) or (
        len(a) != len(b) and (a[-1] in b or b[-1] in a)
    )


def _same_scalars(a: list[Any], b: Any) -> bool:
    """Whether both are flat and the same; false of what has to be walked through."""
    if _TEXT.issuperset(map(type, a)):  # a text equals nothing else: no need to look at types
        return bool(a == b)
    if type(b) is not list or len(a) != len(b):
        return False
    for one, other in zip(a, b, strict=True):
        kind = type(one)
        if kind not in _SCALARS or kind is not type(other) or one != other:
            return False
    return True


def _same(a: Any, b: Any) -> bool:
    """Whether nothing differs in two values that are equal; types may, as of `1` and `1.0`."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is list:
        return all(map(_same, a, b))
    if kind is dict:
        for key, one in a.items():
            if type(one) is not str and not _same(one, b[key]):
                return False
    return True


def _key(item: Any, by: str, index: int) -> Hashable:
    if isinstance(item, dict) and by in item:
        return token(item[by])
    return ("no such member", index)


def _typed(value: Any) -> Any:
    return value if type(value) in _SCALARS else f"{_NAMES[type(value)]} of {len(value)}"


_TEXT = frozenset({str})
_SCALARS = frozenset({str, int, float, bool, type(None)})
