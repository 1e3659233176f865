"""A tiny model of a table with a key and row locks, to run transactions step by step.

It behaves as PostgreSQL at READ COMMITTED, and SQLite, do: an insert waits for an open transaction
that inserted the same row, an update for one that changed it; both look again afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from moreton.transactions.barrier.core import Answer, Ask, Steps, Verdict
from moreton.transactions.barrier.errors import ActsCollide

Key = tuple[str, str]


@dataclass
class Table:
    """Committed states by key, and which open transaction holds which row with what state."""

    committed: dict[Key, str] = field(default_factory=dict)
    held: dict[Key, tuple[int, str | None]] = field(default_factory=dict)

    def run(self, who: int, ask: Ask) -> Answer | None:
        """What *ask* answers; `None` while it has to wait."""
        values = tuple(map(str, ask.values))
        if ask.sql.startswith("SELECT"):
            state = self._seen(who, (values[0], values[1]))
            return Answer(-1, None if state is None else (state, None))
        key = (values[0], values[1]) if ask.sql.startswith("INSERT") else (values[1], values[2])
        holder = self.held.get(key)
        if holder is not None and holder[0] != who:
            return None
        state = self._seen(who, key)
        if ask.sql.startswith("INSERT"):
            if state is not None:
                return Answer(0)
            self.held[key] = (who, values[2])
            return Answer(1)
        if state != "done":
            return Answer(0)
        self.held[key] = (who, values[0])
        return Answer(1)

    def end(self, who: int, *, commit: bool) -> None:
        for key, (holder, state) in list(self.held.items()):
            if holder == who:
                del self.held[key]
                if commit and state is not None:
                    self.committed[key] = state

    def _seen(self, who: int, key: Key) -> str | None:
        holder = self.held.get(key)
        return holder[1] if holder is not None and holder[0] == who else self.committed.get(key)


@dataclass
class Running:
    """One transaction: its steps, whether it commits, and what it came to."""

    steps: Steps
    commits: bool
    next_ask: Ask | None = None
    verdict: Verdict | None = None
    collided: bool = False
    ended: bool = False


def schedules(
    transactions: Callable[[], Sequence[Running]],
) -> Iterator[tuple[Sequence[Running], list[int]]]:
    """Every order in which the steps of *transactions* can happen; each with what came of it.

    Yields the transactions as they ended, and the numbers of those that committed, in that order.
    """
    stack: list[list[int]] = [[]]
    while stack:
        prefix = stack.pop()
        running, order, ready = _replay(transactions(), prefix)
        if not ready:
            assert all(one.ended for one in running), "a deadlock"
            yield running, order
        stack += [[*prefix, who] for who in ready]


def _replay(
    running: Sequence[Running], choices: list[int]
) -> tuple[Sequence[Running], list[int], list[int]]:
    table, order = Table(), list[int]()
    for one in running:
        one.next_ask = next(one.steps)
    for who in choices:
        assert _step(table, who, running[who], order)
    ready = [who for who, one in enumerate(running) if not one.ended and _may_step(table, who, one)]
    return running, order, ready


def _may_step(table: Table, who: int, one: Running) -> bool:
    if one.next_ask is None:
        return True
    held = dict(table.held)
    answer = table.run(who, one.next_ask)
    table.held = held
    return answer is not None


def _step(table: Table, who: int, one: Running, order: list[int]) -> bool:
    """One statement, or the end, of transaction *who*."""
    if one.next_ask is None:
        commit = one.commits and not one.collided
        table.end(who, commit=commit)
        one.ended = True
        if commit:
            order.append(who)
        return True
    answer = table.run(who, one.next_ask)
    if answer is None:
        return False
    try:
        one.next_ask = one.steps.send(answer)
    except StopIteration as end:
        one.verdict, one.next_ask = end.value.verdict, None
    except ActsCollide:
        one.collided, one.next_ask = True, None
    return True
