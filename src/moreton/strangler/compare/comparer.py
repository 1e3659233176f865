"""Compares two answers from their bytes on."""

from __future__ import annotations

from moreton.strangler.compare.bodies.reading import read_body
from moreton.strangler.compare.bodies.unpacking import CannotUnpack, unpack
from moreton.strangler.compare.core.answers import Answer, MediaType, parse_media_type
from moreton.strangler.compare.core.comparing import compare_bodies
from moreton.strangler.compare.core.content import Binary, Body
from moreton.strangler.compare.core.differences import Comparison, Kind
from moreton.strangler.compare.core.rules.defaults import DEFAULT_RULES
from moreton.strangler.compare.core.rules.rulebook import Rulebook
from moreton.strangler.compare.core.walking.fields import compare_heads
from moreton.strangler.compare.core.walking.finding import Findings

_DEFAULTS = Rulebook(DEFAULT_RULES)
_UNKNOWN = MediaType("")


def compare(primary: Answer, candidate: Answer, rules: Rulebook = _DEFAULTS) -> Comparison:
    """In what *candidate* differs from *primary*, but for what *rules* say does not count.

    Never raises, whatever the bodies hold. Bodies that are the same to the byte are not read: some
    microseconds. Others cost their size: about 250 µs for 10 KB of JSON.
    """
    found = Findings(rules)
    compare_heads(primary, candidate, found)
    unread = ""
    if primary.body != candidate.body or _encodings(primary, candidate):
        try:
            unread = _compare_bodies(primary, candidate, found)
        except RecursionError:
            unread = "nested too deeply to be compared"
    return Comparison(tuple(found.found), unread)


def _encodings(primary: Answer, candidate: Answer) -> bool:
    """Whether the same bytes mean something else on each side."""
    names = ("content-encoding", "content-type")
    return any(primary.header(name) != candidate.header(name) for name in names)


def _compare_bodies(primary: Answer, candidate: Answer, found: Findings) -> str:
    if not (primary.complete and candidate.complete):
        if primary.complete != candidate.complete:
            found.add("body", Kind.SIZE, _length(primary), _length(candidate))
        return f"a body of more than {max(len(primary.body), len(candidate.body))} bytes"
    compare_bodies(read_answer_body(primary), read_answer_body(candidate), found)
    return ""


def read_answer_body(answer: Answer) -> Body:
    """What the body of *answer* means, unpacked; one that cannot be is bytes, with the reason."""
    try:
        data = unpack(answer.body, answer.header("content-encoding"))
    except CannotUnpack as error:
        return Body(Binary(answer.body), str(error))
    content_type = answer.header("content-type")
    return read_body(data, parse_media_type(content_type) if content_type else _UNKNOWN)


def _length(answer: Answer) -> str:
    more = "" if answer.complete else "more than "
    return f"{more}{len(answer.body)} bytes"
