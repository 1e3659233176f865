"""The root of every error that Moreton raises for an expected trouble."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class RetryAdvice(StrEnum):
    """Whether doing the same thing again can help."""

    NEVER = "never"
    NOW = "now"
    AFTER = "after"


class MoretonError(Exception):
    """An expected trouble: one subclass per cause, named for the fact.

    A subclass sets *code*, stable and listed in `docs/errors.md`, and *retry*. Its message says
    what is wrong, with the values; what it prevents; what to do. Lower case, no full stop.
    """

    code: ClassVar[str]
    retry: ClassVar[RetryAdvice] = RetryAdvice.NEVER


def shown_address(text: str) -> str:
    """*text*, quoted, without what stands before an `@`: a password, also in one that is mistyped.

    >>> shown_address("postgre://app:secret@db/shop")
    "'postgre:…@db/shop'"
    """
    before, at, behind = text.rpartition("@")
    return repr(f"{before.partition(':')[0]}:…@{behind}" if at else text)
