"""Takes secrets and personal data out of what is kept of two answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from moreton.strangler.compare.core.content import (
    Binary,
    Content,
    Element,
    Form,
    Json,
    Markup,
    Text,
)
from moreton.strangler.compare.core.differences import ABSENT, Difference
from moreton.strangler.compare.core.paths import compile_pattern, render

Mark = Callable[[str], str]

# A part of a name that says that its value is nobody's business.
_SECRET = re.compile(
    r"pass(?:word|wd|phrase)?$|secret|token|authorization|api[_-]?key|credential|session|csrf|"
    r"cookie|^pin$|cvv|cvc|card[_-]?number|iban|ssn|"
    r"e[_-]?mail|phone|mobile|birth|first[_-]?name|last[_-]?name|street|line[_-]?\d|postcode|zip",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_BEARER = re.compile(r"(?i:bearer|basic) [\w+/=.~-]{8,}")
_JWT = re.compile(r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?!\d|\.\d)")
_CARD_MIN = 10**12
_LAST_NAME = re.compile(r"(?:\.([\w-]+)|\['(.*?)'\]|@name='([^']*)'|^(?:header|cookie):([^;]+))")
_FIELDS = frozenset({"cookie", "set-cookie", "authorization", "proxy-authorization"})


class Redactor:
    """Puts *mark* of a value in its place: by its name, by its path, and by what it looks like.

    *mark* should say the same for the same value, so that two that differ can still be told apart,
    and not let it be guessed: a keyed hash, cut short.
    """

    def __init__(self, mark: Mark, paths: Iterable[str] = ()) -> None:
        self._mark = mark
        self._paths = [compile_pattern(path) for path in paths]

    def headers(self, headers: Iterable[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """*headers*, with cookies and credentials marked and the rest looked through."""
        return [
            (name, self._cookie(value) if name == "set-cookie" else self._named(name, value))
            for name, value in headers
        ]

    def content(self, content: Content) -> Content:
        """*content* without what is to be left out; of bytes, nothing is kept."""
        match content:
            case Json():
                return replace(content, value=self._value(content.value, ["$"]))
            case Markup():
                return replace(content, root=self._element(content.root))
            case Form():
                return Form([(name, self._named(name, value)) for name, value in content.fields])
            case Text():
                return Text(self._text(content.text))
            case Binary():
                return Binary(b"")

    def difference(self, one: Difference) -> Difference:
        """*one*, with both values as `content` leaves them."""
        names = [part for found in _LAST_NAME.findall(one.path) for part in found if part]
        secret = self._listed(one.path) or any(_SECRET.search(name) for name in names)
        hide = self._mark if secret else self._text
        shown = [
            value if value == ABSENT else hide(value) for value in (one.primary, one.candidate)
        ]
        return replace(one, primary=shown[0], candidate=shown[1])

    def _value(self, value: Any, trail: list[str | int]) -> Any:
        name = trail[-1]
        if (isinstance(name, str) and len(trail) > 1 and _SECRET.search(name)) or (
            self._paths and self._listed(render(trail))
        ):
            return self._hidden(value)
        if isinstance(value, dict):
            return {key: self._value(one, [*trail, key]) for key, one in value.items()}
        if isinstance(value, list):
            return [self._value(one, [*trail, index]) for index, one in enumerate(value)]
        if isinstance(value, int) and value > _CARD_MIN:
            return value if self._text(str(value)) == str(value) else self._mark(str(value))
        return self._text(value) if isinstance(value, str) else value

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._hidden(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._hidden(one) for one in value]
        return value if value is None or isinstance(value, bool) else self._mark(str(value))

    def _element(self, element: Element) -> Element:
        name = element.attributes.get("name") or element.attributes.get("id") or ""
        secret = bool(_SECRET.search(name))
        attributes = {
            key: self._mark(value) if secret and key in {"value", "content"} else self._text(value)
            for key, value in element.attributes.items()
        }
        children = [
            self._element(child)
            if isinstance(child, Element)
            else (self._mark(child) if secret else self._text(child))
            for child in element.children
        ]
        return Element(element.tag, attributes, children)

    def _named(self, name: str, value: str) -> str:
        hidden = name in _FIELDS or _SECRET.search(name)
        return self._mark(value) if hidden else self._text(value)

    def _cookie(self, value: str) -> str:
        pair, separator, attributes = value.partition(";")
        name, _, content = pair.partition("=")
        return f"{name}={self._mark(content)}{separator}{attributes}"

    def _text(self, text: str) -> str:
        for pattern in (_EMAIL, _BEARER, _JWT):
            text = pattern.sub(lambda found: self._mark(found[0]), text)
        return _CARD.sub(lambda found: self._card(found[0]), text)

    def _card(self, text: str) -> str:
        digits = [int(char) for char in text if char.isdigit()]
        return self._mark(text) if _is_luhn(digits) else text

    def _listed(self, path: str) -> bool:
        return any(pattern.match(path) for pattern in self._paths)


def _is_luhn(digits: Sequence[int]) -> bool:
    """Whether *digits* end in their check digit, as those of cards do (ISO/IEC 7812-1)."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
