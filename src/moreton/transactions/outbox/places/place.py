"""What relay and consumer need of a database: transactions, and a word when others committed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Batch, Rows, Script, drive

T = TypeVar("T")
# What libpq says of a transaction in which a statement failed (`PQTRANS_INERROR`).
_FAILED = 3


@dataclass(frozen=True, slots=True)
class Work:
    """One transaction: *given* is what handlers get, the thing that they write with."""

    given: Any
    execute: Callable[[Batch], list[Rows]]

    def run(self, script: Script[T]) -> T:
        """What *script* comes to, in this transaction."""
        return drive(script, self.execute)


class Place(ABC):
    """A database, used by one thread at a time."""

    dialect: Dialect
    name: str

    @abstractmethod
    def begin(self) -> AbstractContextManager[Work]:
        """A transaction: committed when the block ends, rolled back when it raises.

        A block that hides that a statement failed, so that nothing can be committed, fails as well.
        Connects anew after a lost connection. Raises `DatabaseUnavailable` and what the block
        raises; a commit that raises may have happened.
        """

    @abstractmethod
    def works(self) -> bool:
        """Whether the database answers: when it does not, a failure was not the handler's."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    async def hear(self) -> None:
        """Return when a `Bell` was rung; never, where there are none."""
        await asyncio.Event().wait()

    async def stop_hearing(self) -> None:  # noqa: B027 - most need nothing
        """Let go of what `hear` needs."""

    def run(self, script: Script[T]) -> T:
        """*script* in a transaction of its own."""
        with self.begin() as work:
            return work.run(script)

    def ask(self, script: Script[T]) -> T:
        """*script*, each of whose statements may be a transaction of its own: cheaper."""
        return self.run(script)


def has_failed(connection: object) -> bool:
    """Whether a statement failed in the transaction of *connection*, of psycopg or psycopg2.

    PostgreSQL answers the commit of such a one by rolling it back, and that is no error.
    """
    info = getattr(connection, "info", None)
    return getattr(info, "transaction_status", None) == _FAILED
