"""What a database has to be able to do to take part in a two-phase commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from moreton.transactions.twophase.core.doubts import Prepared


class Fate(StrEnum):
    """What became of a transaction that was prepared."""

    PREPARED = "prepared"
    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class Branch(Protocol):
    """The part of one transaction at one participant; used by one thread at a time."""

    @property
    def connection(self) -> Any:
        """What the work is done with, in its open transaction."""
        ...

    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        ...

    def prepare(self) -> str:
        """Promise, on disk, that `commit` will succeed; a mark to learn its fate by, later.

        Raises what makes that impossible; the branch is rolled back then.
        """
        ...

    def commit(self) -> None:
        """Commit at once what was not prepared."""
        ...

    def rollback(self) -> None:
        """Forget what was not prepared; harmless afterwards."""
        ...


class Participant(Protocol):
    """A database that takes part, by *name*."""

    name: str

    def begin(self, gid: str) -> Branch:
        """Begin a transaction, which *gid* will name when it is prepared."""
        ...

    def prepared(self) -> list[Prepared]:
        """All prepared transactions, whoever made them."""
        ...

    def commit(self, gid: str) -> bool:
        """Commit a prepared transaction, on disk; false if there is none."""
        ...

    def rollback(self, gid: str) -> bool:
        """Roll a prepared transaction back; false if there is none."""
        ...

    def fates(self, marks: Mapping[str, str]) -> Mapping[str, Fate]:
        """What became of the transactions with these marks, by gid."""
        ...

    def close(self) -> None:
        """Let go of connections. May be called again."""
        ...


Participants = Sequence[Participant]
