"""What a participant is asked to do, and how it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# As an index entry has to hold both.
NAME_CHARS_MAX = 200
# Of trace context, as the W3C names it.
HEADERS = "traceparent", "tracestate"
HEADER_CHARS_MAX = 512


class Act(StrEnum):
    """What is done with a branch; the literature's try, confirm and cancel or compensate."""

    DO = "do"
    CONFIRM = "confirm"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Call:
    """*act* of the *branch* of one distributed transaction, with what it needs to know.

    A repeated call has the same three names. Raises `ValueError` for names that are empty or long:
    an empty one would make one transaction of many. *headers* are its trace context, of the W3C.
    """

    transaction_id: str
    branch: str
    act: Act
    payload: Any = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name in ("transaction_id", "branch"):
            check_name(name, getattr(self, name))
        object.__setattr__(self, "act", Act(self.act))

    def as_document(self) -> dict[str, Any]:
        """What can be sent as JSON."""
        return {
            "transaction_id": self.transaction_id,
            "branch": self.branch,
            "act": str(self.act),
            "payload": self.payload,
            **({"headers": dict(self.headers)} if self.headers else {}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Call:
        """The call that `as_document` made; raises `ValueError` for what is none."""
        if not isinstance(document, Mapping):
            raise ValueError(f"a call is {document!r}: send an object")  # noqa: TRY004 - it is data
        missing = [name for name in ("transaction_id", "branch", "act") if name not in document]
        if missing:
            raise ValueError(
                f"a call has no {' and no '.join(missing)}: send what as_document gave"
            )
        try:
            return cls(
                document["transaction_id"],
                document["branch"],
                Act(document["act"]),
                document.get("payload"),
                _trace_context(document.get("headers")),
            )
        except TypeError as error:
            raise ValueError(str(error)) from error


def _trace_context(said: object) -> dict[str, str]:
    """What is known and short of *said*: whoever sends it decides nothing by it."""
    if not isinstance(said, Mapping):
        return {}
    found = {name: said.get(name) for name in HEADERS}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and len(value) <= HEADER_CHARS_MAX
    }


def check_name(name: str, value: object) -> None:
    """*value* can name a transaction or a branch."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}: give a str")
    if not value or len(value) > NAME_CHARS_MAX or "\0" in value:
        shown = value if len(value) <= NAME_CHARS_MAX else f"{value[:20]}… of {len(value)} letters"
        raise ValueError(
            f"{name} is {shown!r}: give 1 to {NAME_CHARS_MAX} letters, none of them NUL"
        )
