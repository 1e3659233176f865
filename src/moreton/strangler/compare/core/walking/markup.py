"""Compares documents of HTML and XML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from typing import Any

from moreton.strangler.compare.core.content import Element, Markup
from moreton.strangler.compare.core.differences import Kind
from moreton.strangler.compare.core.walking.finding import Findings
from moreton.strangler.compare.core.walking.sequences import aligned, rearranged

# What marks an element among its like, the strongest first.
_MARKS = ("id", "name", "property", "itemprop", "rel", "for")
_PLAIN = re.compile(r"[\w:.-]+")
_TEXT = "text()"
_NO_TYPE = "no document type"


def compare_markup(primary: Markup, candidate: Markup, found: Findings) -> None:
    """Tells *found* where two documents differ: elements, attributes, texts.

    An element is known by its id, else by its name, else by its place among its like.
    """
    if primary.doctype.lower() != candidate.doctype.lower():
        found.add("body", Kind.VALUE, primary.doctype or _NO_TYPE, candidate.doctype or _NO_TYPE)
    one, other = primary.root, candidate.root
    if one.tag != other.tag:
        found.add(f"/{_local(one)}", Kind.TYPE, f"<{one.tag}>", f"<{other.tag}>")
        return
    _Walk(found, html=primary.html and candidate.html).element(one, other, f"/{_local(one)}")


class _Walk:
    def __init__(self, found: Findings, *, html: bool) -> None:
        self._found = found
        self._html = html

    def element(self, a: Element, b: Element, path: str) -> None:
        if a.attributes != b.attributes:
            self._attributes(a.attributes, b.attributes, path)
        if a.children != b.children and not self._found.full:
            self._children(a, b, path)

    def _attributes(self, a: dict[str, str], b: dict[str, str], path: str) -> None:
        for name, one in a.items():
            other = b.get(name)
            if other is None:
                self._found.missing(f"{path}/@{name}", one)
            elif one != other and not (self._html and _same_words(name, one, other)):
                self._found.add(f"{path}/@{name}", Kind.VALUE, one, other)
        for name in b.keys() - a.keys():
            self._found.surplus(f"{path}/@{name}", b[name])

    def _children(self, a: Element, b: Element, path: str) -> None:
        marks = [_mark(child) for child in a.children], [_mark(child) for child in b.children]
        if marks[0] == marks[1]:
            pairs = zip(a.children, b.children, _steps(a), strict=True)
            parts = [pair for pair in pairs if pair[0] != pair[1]]
            if self._rearranged(parts):
                self._found.add(path, Kind.ORDER, _brief(a), _brief(b))
                return
            for one, other, step in parts:
                self._pair(one, other, f"{path}/{step}")
            return
        if rearranged(*marks) and rearranged(
            [token(child) for child in a.children], [token(child) for child in b.children]
        ):
            self._found.add(path, Kind.ORDER, _brief(a), _brief(b))
            return
        self._aligned(a, b, path)

    def _rearranged(self, parts: list[tuple[Element | str, Element | str, str]]) -> bool:
        # Where the first is nowhere on the other side, nobody has to look at the rest.
        if len(parts) < 2 or all(other != parts[0][0] for _, other, _ in parts):
            return False
        return rearranged([token(one) for one, _, _ in parts], [token(one) for _, one, _ in parts])

    def _aligned(self, a: Element, b: Element, path: str) -> None:
        ours, theirs = _steps(a), _steps(b)
        one = [token(child) for child in a.children]
        other = [token(child) for child in b.children]
        for ours_at, theirs_at in _matched(a, b, list(aligned(one, other))):
            if ours_at is None and theirs_at is not None:
                self._found.surplus(f"{path}/{theirs[theirs_at]}", _brief(b.children[theirs_at]))
            elif theirs_at is None and ours_at is not None:
                self._found.missing(f"{path}/{ours[ours_at]}", _brief(a.children[ours_at]))
            elif ours_at is not None and theirs_at is not None:
                step = ours[ours_at]
                self._pair(a.children[ours_at], b.children[theirs_at], f"{path}/{step}")

    def _pair(self, a: Element | str, b: Element | str, path: str) -> None:
        path = _shortened(path)
        if isinstance(a, str) or isinstance(b, str):
            if a != b:
                kind = Kind.VALUE if type(a) is type(b) else Kind.TYPE
                self._found.add(path, kind, _brief(a), _brief(b))
        elif a.tag != b.tag:
            self._found.add(path, Kind.TYPE, _brief(a), _brief(b))
        else:
            self.element(a, b, path)


def token(node: Element | str) -> Hashable:
    """The same for two nodes if and only if nothing in them differs."""
    if isinstance(node, str):
        return node
    return (node.tag, frozenset(node.attributes.items()), tuple(map(token, node.children)))


def _matched(
    a: Element, b: Element, pairs: list[tuple[int | None, int | None]]
) -> list[tuple[int | None, int | None]]:
    """*pairs*, parted and paired anew by marks where an element was paired with another kind."""
    matched = []
    wanted: dict[Hashable, list[int]] = {}
    for _, other in pairs:
        if other is not None:
            wanted.setdefault(_mark(b.children[other]), []).append(other)
    for one, _ in pairs:
        if one is not None:
            places = wanted.get(_mark(a.children[one]))
            matched.append((one, places.pop(0) if places else None))
    rest = [(None, place) for places in wanted.values() for place in places]
    return [*matched, *rest]


def _mark(node: Element | str) -> Hashable:
    if isinstance(node, str):
        return _TEXT
    for name in _MARKS:
        value = node.attributes.get(name)
        if value:
            return (node.tag, name, value)
    return node.tag


def _steps(parent: Element) -> list[str]:
    """What each child is called in a path: numbered where there are several of its kind."""
    names = [_step(child) for child in parent.children]
    several = {name for name, count in Counter(names).items() if count > 1}
    seen: Counter[str] = Counter()
    steps = []
    for name in names:
        seen[name] += 1
        steps.append(f"{name.partition('[@')[0]}[{seen[name]}]" if name in several else name)
    return steps


def _step(node: Element | str) -> str:
    if isinstance(node, str):
        return _TEXT
    for name in _MARKS[:2]:
        value = node.attributes.get(name)
        if value and _PLAIN.fullmatch(value):
            return f"{_local(node)}[@{name}='{value}']"
    return _local(node)


def _shortened(path: str) -> str:
    """*path* from the last element with an id on."""
    start = path.rfind("[@id=")
    return path if start < 0 else f"/{path[path.rfind('/', 0, start) :]}"


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _brief(node: Element | str) -> Any:
    if isinstance(node, str):
        return node
    attributes = "".join(f' {name}="{value}"' for name, value in node.attributes.items())
    return f"<{_local(node)}{attributes}> of {len(node.children)}"


def _same_words(name: str, one: str, other: str) -> bool:
    return name == "class" and set(one.split()) == set(other.split())
