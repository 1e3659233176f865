"""What may be done with a request, by what is known of its endpoint; and how an answer says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

# The "rule of three": with 95 % confidence, fewer than 3 of 100 write where none of 100 did.
SEEN_MIN = 100
EFFECTS_HEADER = "x-moreton-effects"
ASK, ASK_WRITES = "ask", "ask writes"
# A dry run is asked for so that an application without an agent does nothing: by a method that
# changes nothing, at an address that it does not have. The field says what is to be run.
DRY_RUN_METHOD, DRY_RUN_PATH = "OPTIONS", "/.well-known/moreton/dry-run"
DRY_RUN_HEADER = "x-moreton-dry-run"
KEY_VARIABLE = "MORETON_DRY_RUN_KEY"
KEY_CHARS_MIN = 16
_TOLD = re.compile(
    r'(?P<standing>[a-z]+)(?:; route="(?P<endpoint>(?:[^"\\]|\\.)*)")?(?:; writes=(?P<writes>\S+))?'
)
_TARGET = re.compile(r"([A-Z]{1,20}) (/[^\s?#]*)(?:\?(\S*))?")
_ODD = re.compile(r"[^ -~]")
_QUOTED = re.compile(r'(["\\])')
_UNQUOTED = re.compile(r"\\(.)")
_ENDPOINT_CHARS_MAX = 500


class Standing(StrEnum):
    """What is known of an endpoint, and of one request to it."""

    SAFE = "safe"  # enough requests were seen, and none wrote
    WROTE = "wrote"  # this request did
    WRITES = "writes"  # another one did
    UNKNOWN = "unknown"  # too few were seen, or nobody looks
    DRY = "dry"  # what it wrote was rolled back


@dataclass(frozen=True, slots=True)
class Told:
    """What an application says of the request it answered: *endpoint* is a method and a route."""

    endpoint: str
    standing: Standing
    writes: str = ""  # as `pack` wrote them

    @property
    def may_copy(self) -> bool:
        """Whether the same request may be sent again, to anybody."""
        return self.standing is Standing.SAFE


def judge(*, seen: int, wrote: int, seen_min: int = SEEN_MIN) -> Standing:
    """What is known of an endpoint of which *seen* requests were seen, *wrote* with effects."""
    if wrote:
        return Standing.WRITES
    return Standing.SAFE if seen >= seen_min else Standing.UNKNOWN


def read_told(value: str | None) -> Told:
    """What the header field says; whatever cannot be meant is `UNKNOWN`. Never raises."""
    found = _TOLD.fullmatch(value.strip()) if value else None
    if found is None or found["standing"] not in set(Standing):
        return Told("", Standing.UNKNOWN)
    endpoint = _UNQUOTED.sub(r"\1", found["endpoint"] or "")
    return Told(endpoint, Standing(found["standing"]), found["writes"] or "")


def write_told(told: Told) -> str:
    """The value of the header field."""
    writes = f"; writes={told.writes}" if told.writes else ""
    if not told.endpoint:
        return f"{told.standing}{writes}"
    endpoint = _QUOTED.sub(r"\\\1", _ODD.sub("?", told.endpoint[:_ENDPOINT_CHARS_MAX]))
    return f'{told.standing}; route="{endpoint}"{writes}'


def asks(word: str, key: str) -> str:
    """The value of the header field of a request that asks for *word*, by who knows the *key*."""
    return f"{word}; key={key}" if key else word


def read_target(value: str) -> tuple[str, str, str] | None:
    """Method, path and query of what a dry run is to run; none if it cannot be meant."""
    found = _TARGET.fullmatch(value)
    return (found[1], found[2], found[3] or "") if found is not None else None
