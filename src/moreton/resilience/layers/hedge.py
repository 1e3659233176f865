"""Hedging: a second call when the first takes long; the answer that comes first counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.quantities import format_duration
from moreton.resilience.events import Hedged, emit, listeners
from moreton.resilience.layers.layer import (
    AsyncCall,
    AsyncGeneratorCall,
    Call,
    GeneratorCall,
    Layer,
)
from moreton.resilience.layers.retry import RetryBudget
from moreton.resilience.timing import SYSTEM, Timing

HEDGES_MAX = 5
# Calls whose cleanup goes on after they lost. With more the next one waits for its own.
LOSING_MAX = 100
# From the cancellation of a call that only waits to its end.
_TURNS = 3


@dataclass(frozen=True, slots=True)
class HedgeStatistics:
    """What a hedge did so far."""

    calls: int
    hedges: int
    won: int


class Hedge(Layer):
    """Starts the call again when it took longer than *after*; up to *hedges* times.

    The first success wins, and the others are cancelled: their cleanup is not waited for, but where
    `LOSING_MAX` are at it. When all fail, the error of the first counts. The call has to be
    idempotent: say so. *budget* bounds the extra load (default: one hedge in ten calls). For
    coroutine functions: a plain function cannot be cancelled.

    Source: Dean and Barroso, "The Tail at Scale", CACM 2013.
    """

    def __init__(
        self,
        after: timedelta,
        *,
        idempotent: bool,
        hedges: int = 1,
        budget: RetryBudget | None = None,
        name: str = "hedge",
        timing: Timing = SYSTEM,
    ) -> None:
        check_duration("after", after, "every call would be made twice")
        check_whole("hedges", hedges, 1, HEDGES_MAX)
        if not idempotent:
            raise ValueError(
                "a hedged call is made twice: only for calls where that is as good as once; say "
                "idempotent=True, or leave the hedge out"
            )
        self.after = after
        self.hedges = hedges
        self.name = name
        self.budget = budget or RetryBudget(0.1, per_second=1.0, timing=timing)
        check_kind("budget", self.budget, RetryBudget)
        self._timing = timing
        self._calls = self._hedges = self._won = 0
        self._losing: set[asyncio.Future[None]] = set()

    def wrap(self, call: Call) -> Call:
        """Refuse: a plain function cannot be hedged."""
        raise self._mismatch(call)

    def wrap_generator(self, call: GeneratorCall) -> GeneratorCall:
        """Refuse: half of a generator cannot be taken back."""
        raise self._mismatch(call)

    def wrap_async_generator(self, call: AsyncGeneratorCall) -> AsyncGeneratorCall:
        """Refuse: half of a generator cannot be taken back."""
        raise self._mismatch(call)

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call*, hedged."""

        async def hedged(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            self.budget.core.deposit(self._timing.now())
            tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(call(*args, **kwargs))]
            try:
                answer = await self._race(tasks, lambda: call(*args, **kwargs))
            except BaseException:
                await _end(tasks)
                raise
            if len(tasks) > 1:
                await self._let_go(tasks)
            return answer

        return hedged

    async def _let_go(self, tasks: list[asyncio.Future[Any]]) -> None:
        """Cancel those of *tasks* that lost; their cleanup may take long, and is not waited for."""
        if len(self._losing) >= LOSING_MAX:
            await _end(tasks)
            return
        ending = asyncio.ensure_future(_end(tasks))
        # A loop keeps no task alive by itself; at its end it cancels those that are left.
        self._losing.add(ending)
        ending.add_done_callback(self._losing.discard)
        # One that only waited has ended when this call does.
        for _ in range(_TURNS):
            if ending.done():
                break
            await asyncio.sleep(0)

    async def _race(self, tasks: list[asyncio.Future[Any]], again: Call) -> Any:
        waiting = set(tasks)
        may_hedge = True
        while waiting:
            timeout = self.after.total_seconds() if may_hedge else None
            done, waiting = await asyncio.wait(
                waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if not task.cancelled() and task.exception() is None:
                    self._won += task is not tasks[0]
                    return task.result()
            if done:
                continue
            may_hedge = self.budget.core.withdraw(self._timing.now())
            if may_hedge:
                self._hedges += 1
                if listeners:
                    emit(Hedged(self.name))
                tasks.append(asyncio.ensure_future(again()))
                waiting.add(tasks[-1])
                may_hedge = len(tasks) <= self.hedges
        return tasks[0].result()

    def statistics(self) -> HedgeStatistics:
        """What it did so far."""
        return HedgeStatistics(self._calls, self._hedges, self._won)

    def describe(self) -> str:
        """When it starts another call."""
        return (
            f"starts the call again after {format_duration(self.after)}, up to {self.hedges} "
            f"times, for at most {self.budget.share:.0%} of calls; the first answer counts"
        )

    def _mismatch(self, call: object) -> TypeError:
        what = getattr(call, "__qualname__", repr(call))
        return TypeError(
            f"{what} is no coroutine function: the call that loses a hedge has to be cancelled, "
            "which nothing else allows; make it `async def`, or leave the hedge out"
        )


async def _end(tasks: list[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
