"""An effect that a request had: by what way, and what it did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

WHAT_CHARS_MAX = 120
EXAMPLE_CHARS_MAX = 300
_NUMBERS = re.compile(r"[0-9a-f]{16,}|\d+", re.IGNORECASE)


class Kind(StrEnum):
    """By what way something left the request."""

    SQL = "sql"
    CACHE = "cache"
    MAIL = "mail"
    HTTP = "http"
    NETWORK = "network"  # a connection to something that nothing here knows
    FILE = "file"
    PROCESS = "process"
    TASK = "task"  # work that goes on elsewhere


class Effect(NamedTuple):
    """*what* is short and without values: `INSERT order_order`, `POST pay.example.com`."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"


@dataclass(frozen=True, slots=True)
class Harmless:
    """Effects that do no harm when they happen twice: *pattern* as in `sql * django_session`."""

    pattern: str
    because: str

    def __post_init__(self) -> None:
        """Refuse what nobody could judge later."""
        if not self.because.strip():
            raise ValueError(f"nobody will know why {self.pattern!r} is harmless; say because")
        kind = self.pattern.partition(" ")[0]
        if kind not in {*Kind, "*"}:
            kinds = ", ".join(Kind)
            raise ValueError(f"{self.pattern!r} begins with no kind of effect; write {kinds} or *")

    def covers(self, effect: Effect) -> bool:
        """Whether *effect* is one of them; `*` stands for any text."""
        return fnmatchcase(str(effect), self.pattern)


def harmless_because(effect: Effect, rules: Sequence[Harmless]) -> str:
    """Why *effect* does no harm, or `""`."""
    return next((rule.because for rule in rules if rule.covers(effect)), "")


def general(text: str) -> str:
    """*text* for all its like: numbers and long hexadecimal words become `#`."""
    return _NUMBERS.sub("#", text)[:WHAT_CHARS_MAX]
