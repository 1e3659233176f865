"""The names of prepared transactions: who made them, and which transaction they are of."""

from __future__ import annotations

from dataclasses import dataclass

from moreton.transactions.barrier.call import check_name

_PREFIX = "moreton"
# PostgreSQL takes 200 bytes in all.
BRANCH_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Name:
    """`moreton:LOG:TRANSACTION:BRANCH`, so that whoever finds one knows which log has decided."""

    log_id: str
    transaction_id: str
    branch: str

    def __str__(self) -> str:
        return f"{_PREFIX}:{self.log_id}:{self.transaction_id}:{self.branch}"


def read_name(text: str) -> Name | None:
    """The parts of *text*; `None` for what somebody else prepared."""
    parts = text.split(":")
    if len(parts) != 4 or parts[0] != _PREFIX or not all(parts):
        return None
    return Name(*parts[1:])


def check_branch(name: object) -> None:
    """*name* can be that of a participant."""
    check_name("a participant's name", name)
    assert isinstance(name, str)
    if len(name) > BRANCH_CHARS_MAX or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(
            f"a participant's name is {name!r}: give up to {BRANCH_CHARS_MAX} letters, digits, "
            "- and _"
        )
    if not name.isascii():
        raise ValueError(f"a participant's name is {name!r}: give ASCII letters")
