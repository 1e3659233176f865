"""Two-phase commits for coroutines: what waits for a database does so in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from moreton.transactions.twophase.coordinator import Work

P = ParamSpec("P")
T = TypeVar("T")


class AsyncWork:
    """As `Work`, for an `async with` block: committed at its end, rolled back if it raises.

    Calls follow each other. A task that is cancelled meanwhile waits for the call under way: the
    block is rolled back then, or, where it was committing already, committed.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._turn = asyncio.Lock()

    @property
    def transaction_id(self) -> str:
        """Its name in the log."""
        return self._work.transaction_id

    @property
    def pending(self) -> Sequence[str]:
        """As `Work.pending`."""
        return self._work.pending

    async def execute(self, name: str, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Run *sql*, with the placeholders of its driver, at participant *name*; its rows."""

        def run(connection: Any) -> list[Any]:
            cursor = connection.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description else []

        return await self.call(name, run)

    async def call(self, name: str, function: Callable[[Any], T]) -> T:
        """What *function* returns, which is given the connection to participant *name*."""
        async with self._turn:
            return await _in_thread(lambda: function(self._work[name]))

    async def __aenter__(self) -> Self:
        self._work.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with self._turn:
            await _in_thread(self._work.__exit__, kind, error, trace)


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """*function* in a thread, which nobody leaves behind: its connection is not free before."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
