"""What becomes of each prepared transaction, given what the log has decided.

Presumed abort: what nobody decided to commit is rolled back. Before that an abort is written to the
log, where only the first decision counts, so that a coordinator which still lives, and is only
slow, learns that it came too late instead of committing the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from moreton.transactions.twophase.core.names import Name, read_name


class Decision(StrEnum):
    """What a transaction was decided to be."""

    COMMIT = "commit"
    ABORT = "abort"


class Doubt(StrEnum):
    """What a prepared transaction is.

    *committed*, *aborted*: decided, and to be carried out; *undecided*: its coordinator may be at
    it; *abandoned*: it has not decided for too long; *foreign*: of another log; *unknown*: nobody
    of Moreton's made it.
    """

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNDECIDED = "undecided"
    ABANDONED = "abandoned"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"

    @property
    def is_orphan(self) -> bool:
        """Whether nobody here may decide about it but a person."""
        return self in {Doubt.FOREIGN, Doubt.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared transaction at *participant*; it has held its locks for *age*."""

    participant: str
    gid: str
    age: timedelta
    owner: str = ""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A prepared transaction, and what it is; *name* where Moreton made it."""

    prepared: Prepared
    doubt: Doubt
    name: Name | None


def classify(
    prepared: Iterable[Prepared],
    decisions: Mapping[str, Decision],
    *,
    log_id: str,
    grace: timedelta,
) -> list[InDoubt]:
    """What each of *prepared* is; *grace* is the time that a coordinator has to decide."""
    found = []
    for one in prepared:
        name = read_name(one.gid)
        if name is None:
            doubt = Doubt.UNKNOWN
        elif name.log_id != log_id:
            doubt = Doubt.FOREIGN
        else:
            doubt = _of_ours(decisions.get(name.transaction_id), one.age, grace)
        found.append(InDoubt(one, doubt, name))
    return found


def _of_ours(decision: Decision | None, age: timedelta, grace: timedelta) -> Doubt:
    if decision is Decision.COMMIT:
        return Doubt.COMMITTED
    if decision is Decision.ABORT:
        return Doubt.ABORTED
    return Doubt.ABANDONED if age >= grace else Doubt.UNDECIDED
