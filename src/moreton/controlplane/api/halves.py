r"""Half a character: JSON can write one (`"\ud800"`), and no encoding has it.

What was stored or answered with one would fail where it is encoded, so it is refused at the door.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

_MESSAGE = (
    "half of a character of UTF-16 (U+D800 to U+DFFF), which nobody could be told; write the whole "
    "character, or leave it out"
)


async def refuse_halves(request: Request) -> None:
    """For every request with a body of JSON: 422 that says where, when a text has a half of one."""
    body = await request.body()
    # Escaped, or as bytes that Python's JSON takes though they are no UTF-8.
    if body.isascii() and b"\\u" not in body:
        return
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return  # whoever reads it refuses it
    where = _where(document)
    if where is not None:
        raise RequestValidationError([{"type": "half", "loc": ("body", *where), "msg": _MESSAGE}])


def _where(document: Any) -> tuple[str | int, ...] | None:
    """Where in *document* the first half is, in the order in which it is written."""
    left: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while left:
        here, value = left.pop()
        if isinstance(value, dict):
            for key in value:
                if _has_half(key):
                    return (*here, key.encode(errors="replace").decode())
            left += [((*here, key), each) for key, each in reversed(value.items())]
        elif isinstance(value, list):
            left += [((*here, number), each) for number, each in reversed([*enumerate(value)])]
        elif isinstance(value, str) and _has_half(value):
            return here
    return None


def _has_half(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)
