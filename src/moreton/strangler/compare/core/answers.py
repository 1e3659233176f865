"""An answer as it came: status, header fields, and the bytes of its body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

# Of a larger body only the first part is kept: what a comparer holds is bounded.
BODY_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side answered to a request.

    *headers* are names in lower case and values, in order, repeated where they were. *body* is as
    it came, compressed where a header says so; *complete* is false where more came than was kept.
    """

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    complete: bool = True

    def header(self, name: str) -> str | None:
        """The value of *name*, in lower case; several joined as RFC 9110, section 5.3 does."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class MediaType:
    """`text/html; charset=utf-8`: *name* in lower case, *charset* as it was written, or ``""``."""

    name: str
    charset: str = ""


@lru_cache(maxsize=256)
def parse_media_type(text: str) -> MediaType:
    """The media type that a `Content-Type` field names; what it is not, is an empty name."""
    name, _, rest = text.partition(";")
    charset = ""
    for key, value in _parameters(rest):
        if key == "charset":
            charset = value.lower()
    name = name.strip().lower()
    return MediaType(name if "/" in name else "", charset)


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(";"):
        key, _, value = part.partition("=")
        yield key.strip().lower(), value.strip().strip('"')
