"""The small grammars that several sections share: hosts, paths, header fields, conditions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from moreton.config.parsing import Section
from moreton.kernel.patterns import PathKind, PathPattern, ValueMatch, ValueMatchKind

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
METHODS = frozenset(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
)
_VARIABLE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")


def read_host(value: Any) -> str:
    """A host that a route is for: `shop.example`, or `*.shop.example`."""
    text = str(value).lower()
    bare = text.removeprefix("*.")
    if not isinstance(value, str) or not HOST.fullmatch(bare) or ":" in text:
        raise ValueError(
            f"{value!r} is not a host; write one like shop.example or *.shop.example, no port"
        )
    return text.rstrip(".")


def read_path(value: Any) -> PathPattern:
    """`/x` exact, `/x/*` prefix by segment, `/x/{id}` template."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"{value!r} is not a path; begin it with a slash, like /orders/*")
    if any(mark in value for mark in "?# ") or not value.isprintable():
        raise ValueError(
            f"{value!r} has a query, a fragment or a space; end it before, and use `query`"
        )
    if "//" in value:
        raise ValueError(f"{value!r} has an empty segment; requests are merged to one slash")
    rest = _VARIABLE.sub("", value)
    if "{" in rest or "}" in rest:
        raise ValueError(f"{value!r} has a broken variable; write one like /users/{{id}}")
    body, star, tail = value.partition("*")
    if star and (tail or not body.endswith("/")):
        raise ValueError(f"{value!r} has a * that is not a last segment; write it like /orders/*")
    if "{" in value:
        names = _VARIABLE.findall(value)
        if len(set(names)) != len(names):
            raise ValueError(f"{value!r} has a variable twice; give each its own name")
        for segment in value.split("/"):
            if "{" in segment and not _VARIABLE.fullmatch(segment):
                raise ValueError(
                    f"{value!r} has a variable that is not a whole segment; write /users/{{id}}"
                )
        return PathPattern(PathKind.TEMPLATE, value, value[: value.index("{")])
    if star:
        return PathPattern(PathKind.PREFIX, value, body.rstrip("/"))
    return PathPattern(PathKind.EXACT, value, value)


def check_methods(methods: list[str], known: frozenset[str] = METHODS) -> list[str]:
    """*methods*, in any case. Raises `ValueError` unless all are *known*."""
    for method in methods:
        if method.upper() not in known:
            raise ValueError(f"{method!r} is not a method; use one of {', '.join(sorted(known))}")
    return methods


def read_header_name(value: str) -> str:
    """A header's name, in lower case."""
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{value!r} is not a header name; use letters, digits and hyphens")
    return value.lower()


def one_header(name: str, among: Iterable[str]) -> str:
    """As `read_header_name`, of a name that is *among* others once, in whatever case."""
    found = read_header_name(name)
    if sum(other.lower() == found for other in among) > 1:
        raise ValueError(f"the header {found!r} is there twice, in different case; keep one")
    return found


def read_header_value(value: Any) -> str:
    """A header's value: one line of text."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text; put it in quotes")  # noqa: TRY004
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"{value!r} has a line break; a header is one line")
    return value


def text(read: Any, example: str) -> Any:
    """The annotations of a value that *read* makes of text like *example*."""
    return (BeforeValidator(read), WithJsonSchema({"type": "string", "examples": [example]}))


HostText = Annotated[str, *text(read_host, "shop.example")]
PathText = Annotated[PathPattern, *text(read_path, "/orders/*")]


class ConditionModel(Section):
    """How a header's or a query parameter's value is compared."""

    exact: str | None = None
    prefix: Annotated[str, Field(min_length=1)] | None = None
    regex: str | None = None
    present: Literal[True] | None = None
    absent: Literal[True] | None = None

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value!r} is not a regex: {error}; correct it") from None
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one; use exact, prefix, regex, present or absent")
        return self

    def as_value(self, name: str) -> ValueMatch:
        """The core's value."""
        (kind,) = self.model_fields_set
        value = getattr(self, kind)
        return ValueMatch(name, ValueMatchKind(kind), value if isinstance(value, str) else "")


def _condition(value: Any) -> Any:
    return {"exact": value} if isinstance(value, str) else value


Condition = Annotated[ConditionModel, BeforeValidator(_condition)]
