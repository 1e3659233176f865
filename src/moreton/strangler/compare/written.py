"""Writes answers as they are kept, redacted, and reads them again to be compared once more."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

from moreton.strangler.compare.comparer import compare, read_answer_body
from moreton.strangler.compare.core.answers import Answer, parse_media_type
from moreton.strangler.compare.core.content import (
    Binary,
    Body,
    Element,
    Form,
    Json,
    Markup,
    Text,
)
from moreton.strangler.compare.core.differences import Comparison
from moreton.strangler.compare.core.redaction import Redactor
from moreton.strangler.compare.core.rules.rulebook import Rulebook

# Half of what a file of differences keeps of a side: escapes make a text longer.
BODY_CHARS_MAX = 32 * 1024
_EMPTY = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_RAW = frozenset({"script", "style"})
# What belongs to the body as it was sent: the one that is kept is unpacked, in UTF-8.
_OF_THE_BODY = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def write_answer(answer: Answer, redactor: Redactor) -> str:
    """*answer* as JSON, without what *redactor* takes out: status, headers, body, complete.

    The body is unpacked and written anew, as what it was read as; a long one is left out, and so
    are bytes. Read by `read_answer`.
    """
    body = _text(read_answer_body(answer), redactor) if answer.complete else None
    kept = body is not None and len(body) <= BODY_CHARS_MAX
    headers = [pair for pair in redactor.headers(answer.headers) if pair[0] not in _OF_THE_BODY]
    return json.dumps(
        {
            "status": answer.status,
            "headers": headers,
            "body": body if kept else "",
            "complete": kept,
        }
    )


def read_answer(text: str) -> Answer:
    """What `write_answer` wrote; raises `ValueError` for anything else."""
    try:
        kept: dict[str, Any] = json.loads(text)
        headers = [(str(name), str(value)) for name, value in kept["headers"]]
        answer = Answer(int(kept["status"]), headers, complete=bool(kept["complete"]))
        return replace(answer, body=_encoded(str(kept["body"]), answer.header("content-type")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no answer that was kept: {error!r}") from error


def compare_again(
    primary: str, candidate: Answer, redactor: Redactor, rules: Rulebook
) -> Comparison:
    """In what *candidate*, answered after a fix, differs from the kept *primary*.

    Both are compared as they are kept: *redactor* has to be the one of then, with the same key.
    """
    return compare(read_answer(primary), read_answer(write_answer(candidate, redactor)), rules)


def _encoded(body: str, content_type: str | None) -> bytes:
    """*body* in the charset that those who read such a type take it to be in."""
    media = parse_media_type(content_type or "")
    if media.charset and not media.name.endswith(("json", "xml")):
        with suppress(LookupError, UnicodeEncodeError):
            return body.encode(media.charset)
    return body.encode(errors="surrogatepass")


def _text(body: Body, redactor: Redactor) -> str | None:
    match redactor.content(body.content):
        case Json(value, lines=True):
            return "\n".join(json.dumps(one) for one in value)
        case Json(value):
            return json.dumps(value)
        case Markup(root, html, doctype):
            return doctype + _markup(root, html=html)
        case Form(fields):
            return urlencode(list(fields))
        case Text(text):
            return text
        case Binary():
            return None


def _markup(element: Element | str, *, html: bool) -> str:
    if isinstance(element, str):
        return escape(element)
    space, _, tag = element.tag.rpartition("}")
    named = f' xmlns="{space[1:]}"' if space else ""
    attributes = "".join(
        f" {name.rpartition('}')[2]}={quoteattr(value)}"
        for name, value in element.attributes.items()
    )
    start = f"<{tag}{named}{attributes}>"
    if html and tag in _EMPTY:
        return start
    if html and tag in _RAW:
        inner = "".join(child for child in element.children if isinstance(child, str))
    else:
        inner = "".join(_markup(child, html=html) for child in element.children)
    return f"{start}{inner}</{tag}>"
