"""Words between a gateway, its collector and the applications that see copies of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# On every copy, and nobody copies what has it: whom it was sent to, `candidate` or `primary`.
COPY_HEADER = "x-moreton-copy"
# On a request that may be copied: the application says in its answer's what it changed.
EFFECTS_HEADER = "x-moreton-effects"
ASK = "ask"
# Of the stream that shows a request: by which route it went.
ROUTE_METADATA = "x-moreton-route"
# Of a larger body only the first part is kept.
BODY_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Shown:
    """A request as it went to *service* by *route*, and what a user got.

    Header fields are names in lower case and values, in order. Bodies are as they came; one of
    more than `BODY_BYTES_MAX` is cut, and not *complete*.
    """

    route: str
    method: str
    target: str
    host: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    body_complete: bool = True
    service: str = ""
    status: int = 0
    answer_headers: Sequence[tuple[str, str]] = ()
    answer_body: bytes = b""
    answer_complete: bool = True

    def header(self, name: str) -> str:
        """The first value of the request's *name*, in lower case; empty when it has none."""
        return next((value for key, value in self.headers if key == name), "")
