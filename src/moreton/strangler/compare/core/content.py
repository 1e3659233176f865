"""What a body means, once it has been read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias


class Element(NamedTuple):
    """One element of HTML or XML: its children are elements and texts, in order."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str]


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON value; *lines* says that it is the list of a file's lines, one value each."""

    value: Any
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Markup:
    """A document; of *html*, white space and the order of classes do not count.

    *doctype* is what it says that it is, `<!DOCTYPE html>`: browsers draw by it.
    """

    root: Element
    html: bool
    doctype: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """Fields of a form, in order."""

    fields: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is compared by lines."""

    text: str


@dataclass(frozen=True, slots=True)
class Binary:
    """Bytes that mean nothing to a comparer."""

    data: bytes


Content: TypeAlias = Json | Markup | Form | Text | Binary


@dataclass(frozen=True, slots=True)
class Body:
    """What a body was read as; *fault* says why it is not what its type says, or is empty."""

    content: Content
    fault: str = ""


def content_name(content: Content) -> str:
    """What *content* is called in a difference."""
    match content:
        case Json():
            return "JSON"
        case Markup():
            return "HTML" if content.html else "XML"
        case Form():
            return "a form"
        case Text():
            return "text"
        case Binary():
            return "bytes"
