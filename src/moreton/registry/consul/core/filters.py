"""`?filter=`: what a document must say to be answered.

    ServiceMeta.version == "2" and "blue" in ServiceTags and not (Node.Meta is empty)

Source: Consul's documentation, API features, "Filtering". `matches` is not offered: a regular
expression of a stranger may take for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from moreton.registry.consul.core.refusals import ConsulRequestRefused, bad

Filter: TypeAlias = Callable[[Any], bool]

_CHARS_MAX = 4096
_DEPTH_MAX = 32
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
      | (?P<mark>==|!=|\(|\))
      | (?P<word>(?:[^\s()"`=!\[]|\["[^"]*"\])+)
    )""",
    re.VERBOSE,
)
_STEP = re.compile(r'\["([^"]*)"\]|\.?([^.\[\]"]+)')


def parse_filter(text: str) -> Filter:
    """Whether a document is what *text* asks for; every one is, of an empty text.

    Raises `ConsulRequestRefused`.
    """
    if not text.strip():
        return lambda _: True
    if len(text) > _CHARS_MAX:
        raise _refusal(f"it has {len(text)} characters; at most {_CHARS_MAX} are read")
    return _Parser(list(_tokens(text))).parse()


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    text = text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _refusal(f"{text[position : position + 20]!r} cannot be read")
        yield str(found.lastgroup), found[str(found.lastgroup)]
        position = found.end()


class _Parser:
    """Reads `or` of `and` of `not`, parentheses and comparisons, by recursive descent."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def parse(self) -> Filter:
        found = self._either()
        if self._position < len(self._tokens):
            raise _refusal(f"{self._peek()!r} is not expected there")
        return found

    def _either(self) -> Filter:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return lambda document: any(part(document) for part in parts)

    def _both(self) -> Filter:
        parts = [self._negated()]
        while self._take("and"):
            parts.append(self._negated())
        return lambda document: all(part(document) for part in parts)

    def _negated(self) -> Filter:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise _refusal(f"it is nested deeper than {_DEPTH_MAX}")
        try:
            if self._take("not"):
                inner = self._negated()
                return lambda document: not inner(document)
            if self._take("("):
                within = self._either()
                self._expect(")")
                return within
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Filter:
        kind, left = self._next()
        if self._take("=="):
            return _equal(left, self._value())
        if self._take("!="):
            differs = _equal(left, self._value())
            return lambda document: not differs(document)
        if self._take("is"):
            negated = self._take("not")
            self._expect("empty")
            return lambda document: (not _find(document, left)) is not negated
        negated = self._take("not")
        if self._take("in"):
            return _holds(self._next()[1], _plain(kind, left), negated=negated)
        if self._take("contains"):
            return _holds(left, self._value(), negated=negated)
        raise _refusal(f"after {left!r} comes no ==, !=, in, contains or is empty")

    def _value(self) -> str:
        return _plain(*self._next())

    def _peek(self) -> str:
        return self._tokens[self._position][1] if self._position < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self._position >= len(self._tokens):
            raise _refusal("it ends too early")
        self._position += 1
        return self._tokens[self._position - 1]

    def _take(self, word: str) -> bool:
        at_end = self._position >= len(self._tokens)
        if at_end or self._tokens[self._position] not in {("word", word), ("mark", word)}:
            return False
        self._position += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise _refusal(f"{word!r} is missing before {self._peek()!r}")


def _plain(kind: str, text: str) -> str:
    if kind != "string":
        return text
    inner = text[1:-1]
    return inner if text[0] == "`" else re.sub(r"\\(.)", r"\1", inner)


def _equal(selector: str, value: str) -> Filter:
    def equal(document: Any) -> bool:
        found = _find(document, selector)
        if isinstance(found, bool):
            return ("true" if found else "false") == value.lower()
        return isinstance(found, str | int) and str(found) == value

    return equal


def _holds(selector: str, value: str, *, negated: bool) -> Filter:
    def holds(document: Any) -> bool:
        found = _find(document, selector)
        return (isinstance(found, list | dict | str) and value in found) is not negated

    return holds


def _find(document: Any, selector: str) -> Any:
    """What lies at *selector*; `None` when nothing does.

    Raises `ConsulRequestRefused` for a name that no such document has.
    """
    found = document
    for depth, step in enumerate(_STEP.finditer(selector)):
        name = step[1] if step[1] is not None else step[2]
        if isinstance(found, list):
            return None
        if not isinstance(found, dict) or name not in found:
            if depth == 0:
                raise _refusal(f"nothing is called {selector[:60]!r}")
            return None
        found = found[name]
    return found


def _refusal(why: str) -> ConsulRequestRefused:
    return bad(f"Failed to create boolean expression evaluator: {why}")
