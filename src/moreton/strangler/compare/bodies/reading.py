"""Reads a body as what its type says, or as what it is instead."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from moreton.strangler.compare.bodies.markup import read_html, read_xml
from moreton.strangler.compare.core.answers import MediaType
from moreton.strangler.compare.core.content import Binary, Body, Form, Json, Text

_FIELDS_MAX = 10_000
_decode_json = msgspec.json.Decoder().decode


def read_body(data: bytes, media: MediaType) -> Body:
    """What *data* is, which has been unpacked; never fails.

    A type that is missing is guessed; one that is not known holds text, if that is what it is.
    """
    name = media.name
    if not name:
        return _guessed(data, media)
    for names, suffix, read in _READERS:
        if name in names or (suffix and name.endswith(suffix)):
            return read(data, media)
    if name.startswith("text/"):
        return _plain(data, media)
    return Body(Binary(data))


def _html(data: bytes, media: MediaType) -> Body:
    document = read_html(data, _known(media.charset))
    return _plain(data, media) if document is None else Body(document)


def _xml(data: bytes, media: MediaType) -> Body:
    document = read_xml(data)
    if isinstance(document, str):
        return _plain(data, media, f"not XML: {document}")
    return Body(document)


def _json(data: bytes, media: MediaType) -> Body:
    # RFC 8259, section 8.1: nobody may write one, and not all readers bear it.
    fault = "begins with a byte order mark" if data.startswith(codecs.BOM_UTF8) else ""
    try:
        return Body(Json(_json_value(data)), fault)
    except RecursionError:
        return _plain(data, media, "not JSON that can be read: nested too deeply")
    except ValueError as error:
        return _plain(data, media, f"not JSON: {error}")


def _json_value(data: bytes) -> Any:
    try:
        return _decode_json(data)
    except msgspec.MsgspecError:
        # What Python writes and others do not read: NaN, halves of surrogate pairs, a mark of
        # the byte order, numbers beyond those of C.
        return json.loads(data.decode("utf-8-sig"), parse_constant=str)


def _json_lines(data: bytes, media: MediaType) -> Body:
    values = []
    for line in data.replace(b"\x1e", b"").splitlines():
        if line.strip():
            body = _json(line, media)
            if not isinstance(body.content, Json):
                return _plain(data, media, body.fault)
            values.append(body.content.value)
    return Body(Json(values, lines=True))


def _form(data: bytes, media: MediaType) -> Body:
    try:
        fields = parse_qsl(data.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError as error:
        return _plain(data, media, f"not a form: {error}")
    return Body(Form(fields))


def _plain(data: bytes, media: MediaType, fault: str = "") -> Body:
    """*data* as text; what is none is bytes, and that is a fault of what says it is text."""
    charset = _known(media.charset) or "utf-8"
    try:
        return Body(Text(data.decode(charset).removeprefix("\ufeff")), fault)
    except (UnicodeDecodeError, LookupError) as error:
        return Body(Binary(data), fault or f"not text in {charset}: {error}")


def _guessed(data: bytes, media: MediaType) -> Body:
    start = data[:100].lstrip().lower()
    if start[:1] in {b"{", b"["}:
        body = _json(data, media)
        if not body.fault:
            return body
    if start.startswith((b"<!doctype html", b"<html")):
        return read_body(data, MediaType("text/html"))
    body = _plain(data, media)
    return Body(body.content)


def _known(charset: str) -> str:
    try:
        return codecs.lookup(charset).name if charset else ""
    except LookupError:
        return ""


_READERS: Sequence[tuple[frozenset[str], str, Callable[[bytes, MediaType], Body]]] = (
    (frozenset({"application/json"}), "+json", _json),
    (frozenset({"text/html"}), "", _html),
    (frozenset({"application/xml", "text/xml"}), "+xml", _xml),
    (frozenset({"application/x-www-form-urlencoded"}), "", _form),
    (
        frozenset({"application/x-ndjson", "application/jsonl", "application/json-seq"}),
        "",
        _json_lines,
    ),
    (frozenset({"application/javascript", "application/graphql", "application/sql"}), "", _plain),
)
