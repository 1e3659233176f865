"""Compares two bodies that have been read."""

from __future__ import annotations

from typing import assert_never

from moreton.strangler.compare.core.content import (
    Binary,
    Body,
    Content,
    Form,
    Json,
    Markup,
    Text,
    content_name,
)
from moreton.strangler.compare.core.differences import Kind
from moreton.strangler.compare.core.walking.finding import Findings
from moreton.strangler.compare.core.walking.markup import compare_markup
from moreton.strangler.compare.core.walking.text import compare_bytes, compare_text
from moreton.strangler.compare.core.walking.values import compare_values


def compare_bodies(primary: Body, candidate: Body, found: Findings) -> None:
    """Tells *found* where two bodies differ.

    A body that is not what its type says is a difference if the other one is; where neither is,
    they are compared as what they were read as instead.
    """
    if bool(primary.fault) != bool(candidate.fault):
        ours, theirs = primary.fault or "well-formed", candidate.fault or "well-formed"
        found.add("body", Kind.MALFORMED, ours, theirs)
        return
    compare_contents(primary.content, candidate.content, found)


def compare_contents(primary: Content, candidate: Content, found: Findings) -> None:
    """Tells *found* where the two differ; of two kinds, only that they are of two kinds."""
    match primary, candidate:
        case Json(), Json():
            compare_values(primary.value, candidate.value, found)
        case Markup(), Markup() if primary.html == candidate.html:
            compare_markup(primary, candidate, found)
        case Form(), Form():
            compare_values(_lists(primary), _lists(candidate), found, root="form")
        case Text(), Text():
            compare_text(primary.text, candidate.text, found)
        case Binary(), Binary():
            compare_bytes(primary.data, candidate.data, found)
        case _:
            found.add("body", Kind.TYPE, content_name(primary), content_name(candidate))


def _lists(form: Form) -> dict[str, list[str] | str]:
    """The fields by their names; one that is there once is its value."""
    fields: dict[str, list[str] | str] = {}
    for name, value in form.fields:
        match fields.get(name):
            case None:
                fields[name] = value
            case list() as several:
                several.append(value)
            case str() as first:
                fields[name] = [first, value]
            case other:
                assert_never(other)
    return fields
