"""In what two answers differ: where, how, and what each of them said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from moreton.strangler.compare.core.paths import general

# Who answers something else altogether is told so by the first of them.
DIFFERENCES_MAX = 100
SHOWN_CHARS_MAX = 200
ABSENT = "—"


class Kind(StrEnum):
    """How one place of the answers differs."""

    VALUE = "value"
    TYPE = "type"  # a number here, a text there
    MISSING = "missing"  # the candidate has it not
    EXTRA = "extra"  # the candidate alone has it
    ORDER = "order"  # the same items, arranged otherwise
    SIZE = "size"  # so many items, or bytes, instead of so many
    MALFORMED = "malformed"  # the candidate's body is not what its type says


class Shape(NamedTuple):
    """What differences are grouped by: *field* is a path without numbers."""

    endpoint: str
    field: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Difference:
    """At *path* the primary said one thing and the candidate another, both shortened to be shown.

    Paths are `status`, `header:location`, `cookie:sessionid`, `body`, and within a body
    `$.items[3].price`, `//form[@id='buy']/input[@name='q']/@value`, `form.name`, `line[3]`.
    """

    path: str
    kind: Kind
    primary: str
    candidate: str

    def shape(self, endpoint: str) -> Shape:
        """The group of this difference at *endpoint*, a method and a route."""
        return Shape(endpoint, general(self.path), self.kind)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing two answers; *unread* says why their bodies were not, or is empty.

    Of more than `DIFFERENCES_MAX` differences there is the first of each further field and kind.
    """

    differences: Sequence[Difference] = ()
    unread: str = ""

    def __bool__(self) -> bool:
        return bool(self.differences)


def shown(value: Any) -> str:
    """*value* as a difference shows it: of one line, and short."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) > SHOWN_CHARS_MAX:
        text = f"{text[: SHOWN_CHARS_MAX - 1]}…"
    return text if text.isprintable() else "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return char.encode("unicode_escape").decode("ascii")
