"""Words between a gateway, its collector and the applications that see copies of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# On every copy, and nobody copies what has it: whom it was sent to, `candidate` or `primary`.
COPY_HEADER = "x-moreton-copy"
# On a request that may be copied: the application says in its answer's what it changed.
EFFECTS_HEADER = "x-moreton-effects"
ASK, ASK_WRITES, DRY = "ask", "ask writes", "dry"
# What asks a candidate to run a request dry; to a service without an agent it means nothing.
DRY_RUN_METHOD, DRY_RUN_PATH = "OPTIONS", "/.well-known/moreton/dry-run"
DRY_RUN_HEADER = "x-moreton-dry-run"
# Who knows what is in this variable of the environment may ask for writes, and for dry runs.
KEY_VARIABLE = "MORETON_DRY_RUN_KEY"
# Where a proxy lays what it shows of a request: the request, and its answer.
PLACE, REQUEST, ANSWER = "_copies", "request", "answer"
# Of a larger body only the first part is kept.
BODY_BYTES_MAX = 1024 * 1024


def asks(word: str, key: str) -> str:
    """The value of `EFFECTS_HEADER` that asks for *word*."""
    return f"{word}; key={key}" if key else word


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
