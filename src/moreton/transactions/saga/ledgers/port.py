"""What an engine asks of the database that keeps its sagas.

Times are microseconds since 1970. `due` says when a worker may take a saga: 0 at once, `None`
never; of a saga that a worker has, it is the end of its lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.rows import LogRow


@dataclass(slots=True)
class Begin:
    """A new saga; `number` is set once it is written, `existed` when its id was taken."""

    id: str
    name: str
    version: int
    input: str
    started: int
    status: Status
    due: int | None
    owner: str | None
    priority: int = 0
    parent: int | None = None
    locks: Sequence[str] = ()
    rows: Sequence[LogRow] = ()
    reason: str = ""
    queue: str = ""
    number: int = 0
    existed: bool = False


@dataclass(slots=True)
class Settle:
    """The worker lets go of the saga."""

    status: Status
    due: int | None
    reason: str = ""
    ended: int | None = None
    awaits: Sequence[str] = ()  # signals: should one be there by now, it is due at once
    parent: int | None = None  # of a saga that ended: it gets *signal*, and is woken
    signal: str = ""
    locked: bool = False  # it may hold locks


@dataclass(slots=True)
class Advance:
    """New rows of a saga's log from *seq* on, if *epoch* is still its epoch; else `fenced`."""

    number: int
    epoch: int
    seq: int
    rows: Sequence[LogRow]
    settle: Settle | None = None
    fenced: bool = False


Write: TypeAlias = Begin | Advance


class SagaRow(NamedTuple):
    """A saga without its log."""

    number: int
    id: str
    name: str
    version: int
    status: str
    priority: int
    due: int | None
    owner: str | None
    epoch: int
    takeovers: int
    seen: int
    parent: int | None
    input: str
    reason: str
    started: int
    ended: int | None
    queue: str


COLUMNS = ", ".join(SagaRow._fields)


@dataclass(frozen=True, slots=True)
class Stored:
    """A definition that was registered once: its shape as text, and how many run by it."""

    name: str
    version: int
    fingerprint: str
    shape: str
    running: int = field(compare=False, default=0)


class Change(Protocol):
    """One transaction, for tables of which both databases keep the same rows."""

    locking: str  # at the end of a SELECT: nobody else changes those rows until we are done
    skipping: str  # as `locking`, without those that somebody has

    def now(self, own: int) -> int:
        """The time by which leases end: the database's, or *own* where there is one engine."""
        ...

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of *statement*, with `?` for a value, and `@` before the name of a table."""
        ...

    def begin(self, new: Begin) -> None:
        """Write *new*."""
        ...


class Ledger(Protocol):
    """All calls block, and may be made from any thread. Trouble is a `LedgerFailing`."""

    lease_micros: int  # how long a worker has a saga without renewing
    poll_seconds: float  # how often to look for what is due
    where: str  # the database, for messages; without a password

    def now_nanos(self) -> int:
        """The calendar of the database."""
        ...

    def commit(self, write: Write) -> None:
        """Make *write* durable, together with those of other threads."""
        ...

    def commit_all(self, writes: Sequence[Write]) -> None:
        """As `commit`, of several."""
        ...

    def claim(
        self, owner: str, names: Sequence[tuple[str, int]], most: int, now: int
    ) -> list[SagaRow]:
        """Take up to *most* sagas that are due and in no queue, of those definitions, on lease."""
        ...

    def renew(self, owner: str, numbers: Sequence[int]) -> None:
        """Lengthen the leases of *owner*."""
        ...

    def release(self, owner: str, claims: Sequence[tuple[int, int]]) -> None:
        """Let others take what *owner* has and cannot go on with: numbers and epochs."""
        ...

    def took_over(self, number: int, epoch: int, *, times: int, seen: int) -> None:
        """Note how often a saga was taken from a worker that vanished."""
        ...

    def log(self, number: int) -> list[LogRow]:
        """The log of a saga."""
        ...

    def logs(self, numbers: Sequence[int]) -> dict[int, list[LogRow]]:
        """The logs of several sagas; of one without rows nothing."""
        ...

    def find(self, saga_id: str) -> SagaRow | None:
        """The saga with that id."""
        ...

    def at(self, number: int) -> SagaRow | None:
        """The saga with that number."""
        ...

    def listed(
        self, *, status: Status | None, name: str | None, most: int, queue: str | None = None
    ) -> list[SagaRow]:
        """The newest sagas first."""
        ...

    def interject(
        self, row: SagaRow, seq: int, rows: Sequence[LogRow], status: Status, due: int | None
    ) -> bool:
        """Write rows from outside a worker, and fence off whoever has it; false if too late."""
        ...

    def signal(self, number: int, name: str, value: str) -> bool:
        """Keep a signal, and wake its saga; false when one of that name was there already."""
        ...

    def signalled(self, number: int, name: str) -> str | None:
        """The value of a signal, if it came."""
        ...

    def definitions(self) -> list[Stored]:
        """Every definition that was ever registered."""
        ...

    def define(self, stored: Stored) -> None:
        """Register a definition, or replace it."""
        ...

    def pending(self, most: int) -> int:
        """How many sagas wait for a worker; *most* if they are more."""
        ...

    def counts(self) -> dict[str, int]:
        """How many sagas are in each status."""
        ...

    def forget(self, before: int, most: int) -> int:
        """Delete up to *most* sagas that ended before that time; how many were.

        A child stays until its parent is gone, which may still have to undo it.
        """
        ...

    def looking(self) -> AbstractContextManager[Change]:
        """As `changing`, to read; each statement sees what is there by then."""
        ...

    def changing(self, point: str) -> AbstractContextManager[Change]:
        """A transaction that is durable when the block ends, undone when it raises."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
