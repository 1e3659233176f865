"""The field `Idempotency-Key`, and which requests and answers it is about.

Source: draft-ietf-httpapi-idempotency-key-header-07, "The Idempotency-Key HTTP Header Field"; its
value is a string of RFC 9651. Clients older than the draft send it without quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

FIELD = "idempotency-key"
KEY_CHARS_MAX = 200
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\s*(?:;.*)?')
_BARE = re.compile(r"[!#-+\--:<-~]+")
_ESCAPED = re.compile(r'\\(["\\])')
# What says "not now" says nothing about the request: trying again has to be possible.
_PASSING = {401, 407, 408, 409, 425, 429}
# About one connection or one moment, or of a session; of no use, or of harm, later.
_NOT_KEPT = {
    "connection", "date", "keep-alive", "proxy-authenticate", "server", "set-cookie", "te",
    "trailer", "transfer-encoding", "upgrade", "age",
}  # fmt: skip
REPLAYED = ("idempotency-replayed", "true")


class NotAKey(ValueError):
    """The field's value is no key."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer that can be given again."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes


def read_key(value: str) -> str:
    """The key in the *value* of the field; raises `NotAKey`."""
    text = value.strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        key = _ESCAPED.sub(r"\1", quoted[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        raise NotAKey('it is no string, as "8e03978e-40d5-43dd-bc93-6894a57f9324"')
    if not key or len(key) > KEY_CHARS_MAX:
        raise NotAKey(f"it has {len(key)} letters, not 1 to {KEY_CHARS_MAX}")
    return key


def fingerprint(method: str, target: str, content_type: str, body: bytes) -> str:
    """What two requests have in common that ask for the same: all that says what is to be done."""
    found = sha256()
    for part in (method.upper().encode(), target.encode(), content_type.encode(), body):
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


def is_final(status: int) -> bool:
    """Whether an answer with *status* is the request's outcome, and is to be given again.

    2xx and 3xx: it was done. Most 4xx: it never will be. 5xx and those that say "not now": the
    same key may try again.
    """
    return 200 <= status < 500 and status not in _PASSING


def kept_fields(fields: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of *fields* that may be given again to the same caller."""
    return tuple((name, value) for name, value in fields if name.lower() not in _NOT_KEPT)
