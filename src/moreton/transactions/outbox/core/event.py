"""Events as CloudEvents 1.0 says them in JSON, one by one and in batches.

Source: CNCF, CloudEvents 1.0.2; its JSON event format; its partitioning extension.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

SPEC_VERSION = "1.0"
# A NATS server takes messages of 1 MiB unless told otherwise, and an event travels with others.
EVENT_BYTES_MAX = 512 * 1024
ATTRIBUTE_CHARS_MAX = 512
_TEXTS = "type", "source", "id", "subject", "time", "dataschema"

_EXTENSION = re.compile(r"[a-z0-9]{1,20}")
_KNOWN = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}
    | {"data", "data_base64"}
)
# What no attribute may have, by CloudEvents; half a surrogate pair is in no encoding either.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSAYABLE = re.compile(r"[\x00\ud800-\udfff]")
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
# Says whatever was read, in ASCII.
_ESCAPED = json.JSONEncoder(separators=(",", ":"))

Extension: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as others are told.

    *source* and *id* together name it for good. Events of one source that have the same `key` are
    handled in the order in which they were written. *data* is what JSON can say; or bytes.
    """

    type: str
    data: Any = None
    subject: str = ""
    source: str = ""
    id: str = ""
    time: str = ""
    dataschema: str = ""
    extensions: Mapping[str, Extension] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What it is about: `partitionkey`, else its subject; its id, which nobody shares, else."""
        return str(self.extensions.get("partitionkey") or self.subject or self.id)


@dataclass(frozen=True, slots=True)
class NotAnEvent:
    """What arrived in an event's place; *id* is a digest, the same for the same text."""

    text: str
    reason: str
    source: str = ""

    @property
    def id(self) -> str:
        """A name for it."""
        return "sha256-" + hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def key(self) -> str:
        """Its own: nothing waits for it."""
        return self.id


Arrived: TypeAlias = Event | NotAnEvent


def encode(event: Event) -> str:
    """*event* in the JSON event format; raises `ValueError` that says which part cannot be said."""
    check(event)
    said = _said(event)
    try:
        text = _JSON.encode(said)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its data cannot be written as JSON, {str(error).lower()}") from error
    return text if _is_sayable(text) else _ESCAPED.encode(said)


def encode_read(event: Event) -> str:
    """As `encode`, of an event that was read: a number above all floats, too, is read again."""
    try:
        return encode(event)
    except ValueError:
        return _ESCAPED.encode(_said(event))


def sayable(text: str) -> str:
    """*text* without what databases do not keep in a text: NUL, half of a surrogate pair."""
    return text if _is_sayable(text) else _UNSAYABLE.sub("\ufffd", text)


def _is_sayable(text: str) -> bool:
    return (text.isascii() and "\0" not in text) or not _UNSAYABLE.search(text)


def _said(event: Event) -> dict[str, Any]:
    said: dict[str, Any] = {
        "specversion": SPEC_VERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
    }
    for name in ("subject", "time", "dataschema"):
        if value := getattr(event, name):
            said[name] = value
    said.update(event.extensions)
    if isinstance(event.data, bytes | bytearray | memoryview):
        said["datacontenttype"] = "application/octet-stream"
        said["data_base64"] = base64.b64encode(event.data).decode()
    elif event.data is not None:
        said["data"] = event.data
    return said


def check(event: Event) -> None:
    """Raise `ValueError` unless every attribute of *event* is one that CloudEvents allows."""
    if not (event.type and event.source and event.id):
        missing = next(name for name in ("type", "source", "id") if not getattr(event, name))
        raise ValueError(f"its {missing} is empty")
    texts: tuple[Any, ...] = (
        event.type, event.source, event.id, event.subject, event.time, event.dataschema,
    )  # fmt: skip
    if not _are_plain(texts):
        for name, text in zip(_TEXTS, texts, strict=True):
            _check_text(name, text)
    for name, value in event.extensions.items():
        if name in _KNOWN or not _EXTENSION.fullmatch(name):
            raise ValueError(f"its extension {name!r} is not up to 20 of a-z and 0-9, or is taken")
        if isinstance(value, str):
            _check_text(name, value)
        else:
            _check_number(name, value)


def _are_plain(texts: Sequence[Any]) -> bool:
    """Whether all are texts that may be, at a glance: what nearly all events have."""
    try:
        whole = "".join(texts)
    except TypeError:
        return False
    # What is printable has none of those, and is found out in a fourth of the time.
    return len(whole) <= ATTRIBUTE_CHARS_MAX and (whole.isprintable() or not _CONTROL.search(whole))


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"its {name} is {value!r}, not a text")  # noqa: TRY004 - one kind for all
    if len(value) > ATTRIBUTE_CHARS_MAX:
        raise ValueError(f"its {name} has {len(value)} characters, above {ATTRIBUTE_CHARS_MAX}")
    if _CONTROL.search(value):
        raise ValueError(f"its {name} {value!r} has control characters or half of a pair")


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise ValueError(f"its extension {name} is {value!r}, no text, bool or 32-bit number")


def batch(texts: Sequence[str]) -> bytes:
    """Encoded events in the JSON batch format, without reading them again."""
    return ("[" + ",".join(texts) + "]").encode()


def read_batch(body: bytes) -> list[Arrived]:
    """What *body* holds, a batch or one event; what is not an event is told, never raised."""
    try:
        text = body.decode()
        said = json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        return [NotAnEvent(sayable(body.decode(errors="replace")), f"it is not JSON, {error}")]
    return [_read(one) for one in said] if isinstance(said, list) else [_read(said)]


def decode(text: str) -> Arrived:
    """The one event that *text* says."""
    (found,) = read_batch(text.encode()) or [NotAnEvent(text, "it is an empty batch")]
    return found


def _read(said: Any) -> Arrived:
    if not isinstance(said, dict):
        return NotAnEvent(_text(said), "it is not a JSON object")
    version = said.get("specversion")
    if version != SPEC_VERSION:
        return NotAnEvent(_text(said), f"its specversion is {version!r}, not {SPEC_VERSION!r}")
    try:
        data = said.get("data")
        if "data_base64" in said:
            data = base64.b64decode(said["data_base64"], validate=True)
        event = Event(
            said.get("type", ""),
            data,
            said.get("subject") or "",
            said.get("source", ""),
            said.get("id", ""),
            said.get("time") or "",
            said.get("dataschema") or "",
            {} if said.keys() <= _KNOWN else _extensions(said),
        )
        check(event)
    except (ValueError, TypeError, binascii.Error) as error:
        return NotAnEvent(_text(said), str(error))
    return event


def _extensions(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in _KNOWN and value is not None}


def _text(said: Any) -> str:
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return text if _is_sayable(text) else _ESCAPED.encode(said)
