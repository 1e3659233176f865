"""Dead letters: what an inbox could not handle, and what a person decides about it."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.transactions.outbox.errors import UnknownDeadLetter
from moreton.transactions.outbox.places import Place, open_place
from moreton.transactions.outbox.tables import dead
from moreton.transactions.outbox.tables.dead import DeadLetter
from moreton.transactions.outbox.tables.schema import INBOX_TABLES, has_tables

__all__ = ["DeadLetter", "DeadLetters"]


class DeadLetters:
    """The dead letters in *database*, of every consumer that keeps its inbox there.

    A running consumer does what is decided here within a moment; no handler runs here.
    """

    def __init__(self, database: str | Place) -> None:
        self._place = open_place(database)

    def listing(self, consumer: str = "", *, waiting: bool = False) -> list[DeadLetter]:
        """The oldest thousand; *waiting*: those too that are tried again or wait behind others."""
        if not self._has_inbox():
            return []
        return self._place.run(dead.listing(self._place.dialect, consumer=consumer, every=waiting))

    def inspect(self, number: int) -> DeadLetter:
        """The one with that number, dead or waiting. Raises `UnknownDeadLetter`."""
        found = self._has_inbox() and self._place.run(
            dead.listing(self._place.dialect, number=number, every=True)
        )
        if not found:
            raise UnknownDeadLetter(number=number)
        return found[0]

    def replay(self, *numbers: int) -> int:
        """Have them handled as if they were new, before those behind them; how many."""
        return self._change(numbers, replay=True)

    def drop(self, *numbers: int) -> int:
        """Give them up for good: those behind them go on. How many."""
        return self._change(numbers, replay=False)

    def close(self) -> None:
        """Let go of the database."""
        self._place.close()

    def _has_inbox(self) -> bool:
        """Whether any consumer keeps an inbox there: looking makes no table."""
        return self._place.ask(has_tables(self._place.dialect, *INBOX_TABLES))

    def _change(self, numbers: Sequence[int], *, replay: bool) -> int:
        """All of *numbers*, or none: raises `UnknownDeadLetter` for one that is not dead."""
        change = dead.replay if replay else dead.drop
        wanted = sorted(set(numbers))
        if not wanted:
            return 0
        if not self._has_inbox():
            raise UnknownDeadLetter(number=wanted[0])
        with self._place.begin() as work:
            count = work.run(change(self._place.dialect, wanted))
            if count != len(wanted):
                there = {
                    each.number
                    for number in wanted
                    for each in work.run(
                        dead.listing(self._place.dialect, number=number, every=True)
                    )
                }
                missing = [each for each in wanted if each not in there] or wanted
                raise UnknownDeadLetter(number=missing[0])
        return count
