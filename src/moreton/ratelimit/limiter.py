"""What every limiter does, wherever it keeps its states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.time import nanos_of
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.decision import NOT_TAKEN, Decision
from moreton.ratelimit.core.limit import Limit, duration_of, seconds_of
from moreton.ratelimit.decorating import FunctionT, surrounded
from moreton.ratelimit.turns import WAITING_MAX, Ask, Queue, Turn, turn

Keys = str | Sequence[str]
LIMITS_MAX = 16
_ZERO = timedelta(0)


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """Keys that are known, keys that were forgotten while they owed, and calls that wait.

    *degraded* counts what was decided while the store could not be asked.
    """

    keys: int
    evicted: int
    waiting: int
    degraded: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What *limiter* is asked together with others of its store."""

    limiter: Limiter
    keys: Keys
    cost: int = 1
    share: float = 1.0


class Limiter(ABC):
    """Decides by all of its *limits* together: a request passes all of them, or is charged to none.

    *keys* name who asks: one key for all limits, or one for each of them in their order (an
    address, a tenant, and "" for everyone). Safe to use from threads and tasks at once.
    """

    def __init__(
        self, limits: Sequence[Limit], *, clock: LimitClock = SYSTEM, waiting_max: int = WAITING_MAX
    ) -> None:
        _check_limits(limits)
        self.limits = tuple(limits)
        self.clock = clock
        self._queue = Queue(waiting_max)

    @abstractmethod
    def decide(
        self, keys: Keys, cost: int = 1, *, patience: timedelta = _ZERO, share: float = 1.0
    ) -> Decision:
        """Charge *cost*, or say which limit refuses it, and when it is free.

        A cost of 0 charges nothing and tells how things stand. A limit that can be taken ahead may
        answer with a `delay` of up to *patience*: the turn is taken, and the caller waits for it.
        *share* is what of each quota this request may use. O(number of limits).
        """

    @property
    def store(self) -> Hashable | None:
        """Where it counts, if limiters with the same one can be asked together."""
        return None

    def decide_together(self, questions: Sequence[Question]) -> list[Decision | None]:
        """Decide by all limiters of *questions*, in one trip: all of them are charged, or none.

        They have one `store`, that of this one, and one cost. `None` is said of those that were not
        charged as another one refuses; what others were charged all the same is to be given back.
        """
        raise NotImplementedError

    async def decide_together_async(self, questions: Sequence[Question]) -> list[Decision | None]:
        """As `decide_together`."""
        return self.decide_together(questions)

    @abstractmethod
    def charge(self, keys: Keys, cost: int) -> Decision:
        """Charge *cost* after the fact, whether it is there or not: what is missing is owed."""

    @abstractmethod
    def give_back(self, decision: Decision, cost: int | None = None) -> None:
        """Give back *cost* of what *decision* charged, or all of it: the work was not done."""

    @abstractmethod
    def reset(self, key: str) -> None:
        """*key* begins anew with every limit."""

    @abstractmethod
    def statistics(self) -> LimiterStatistics:
        """The state of this limiter in this process."""

    async def decide_async(
        self, keys: Keys, cost: int = 1, *, patience: timedelta = _ZERO, share: float = 1.0
    ) -> Decision:
        """As `decide`."""
        return self.decide(keys, cost, patience=patience, share=share)

    async def charge_async(self, keys: Keys, cost: int) -> Decision:
        """As `charge`."""
        return self.charge(keys, cost)

    async def give_back_async(self, decision: Decision, cost: int | None = None) -> None:
        """As `give_back`."""
        self.give_back(decision, cost)

    def release(self, decision: Decision) -> None:
        """The work that *decision* let in has ended: free its place where a limit counts those."""
        if decision.taken and any(limit.held for limit in self.limits):
            self.give_back(_held_only(decision))

    async def release_async(self, decision: Decision) -> None:
        """As `release`."""
        if decision.taken and any(limit.held for limit in self.limits):
            await self.give_back_async(_held_only(decision))

    def acquire(self, keys: Keys, cost: int = 1, *, wait: timedelta = _ZERO) -> Decision:
        """Wait for the turn, up to *wait*, and take it; raises `RateLimited` when it is later.

        One that is later says so at once. At most *waiting_max* calls of this process wait: beyond
        that it raises `QueueFull`.
        """
        steps = self._turn(wait)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Ask):
                    patience = duration_of(step.patience_nanos)
                    step = steps.send(self.decide(keys, cost, patience=patience))
                else:
                    self.clock.sleep(seconds_of(step.nanos))
                    step = next(steps)
        except StopIteration as end:
            return cast("Decision", end.value)
        finally:
            steps.close()

    async def acquire_async(
        self, keys: Keys, cost: int = 1, *, wait: timedelta = _ZERO
    ) -> Decision:
        """As `acquire`; who is cancelled while it waits has used its turn."""
        steps = self._turn(wait)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Ask):
                    patience = duration_of(step.patience_nanos)
                    step = steps.send(await self.decide_async(keys, cost, patience=patience))
                else:
                    await self.clock.sleep_async(seconds_of(step.nanos))
                    step = next(steps)
        except StopIteration as end:
            return cast("Decision", end.value)
        finally:
            steps.close()

    def limit(
        self,
        key: str | Callable[..., Keys] = "",
        *,
        cost: int | Callable[..., int] = 1,
        wait: timedelta = _ZERO,
    ) -> Callable[[FunctionT], FunctionT]:
        """Decorate a function: each call passes the limits first, or raises `RateLimited`.

        *key* and *cost* may be functions of the call's arguments. Coroutine functions wait without
        blocking the loop. A generator passes with its first item, and holds its place to its end.
        """
        check_duration("wait", wait, zero=True)
        keys_of = key if callable(key) else lambda *_, **__: key
        cost_of = cost if callable(cost) else lambda *_, **__: cost

        @contextmanager
        def around(*args: Any, **kwargs: Any) -> Iterator[None]:
            decision = self.acquire(keys_of(*args, **kwargs), cost_of(*args, **kwargs), wait=wait)
            try:
                yield
            finally:
                self.release(decision)

        @asynccontextmanager
        async def around_async(*args: Any, **kwargs: Any) -> AsyncIterator[None]:
            keys, price = keys_of(*args, **kwargs), cost_of(*args, **kwargs)
            decision = await self.acquire_async(keys, price, wait=wait)
            try:
                yield
            finally:
                await self.release_async(decision)

        return lambda function: surrounded(function, around, around_async)

    def _keys(self, keys: Keys) -> tuple[str, ...]:
        """One key for each limit."""
        if isinstance(keys, str):
            return (keys,) * len(self.limits)
        check_kind("key", keys, Sequence, "a string, or one for each limit")
        if len(keys) != len(self.limits):
            raise ValueError(
                f"{len(keys)} keys for {len(self.limits)} limits: give one key, or one for each "
                "limit in their order"
            )
        return tuple(keys)

    def _turn(self, wait: timedelta) -> Turn:
        check_duration("wait", wait, zero=True)
        ahead = not any(limit.held for limit in self.limits)
        return turn(self._queue, self.clock, nanos_of(wait), ahead=ahead)

    def _nows(self) -> tuple[int, ...]:
        """The present of each limit's own time."""
        monotonic = self.clock.monotonic()
        if not any(limit.on_calendar for limit in self.limits):
            return (monotonic,) * len(self.limits)
        calendar = self.clock.calendar()
        return tuple(calendar if limit.on_calendar else monotonic for limit in self.limits)


def _check_limits(limits: Sequence[Limit]) -> None:
    check_whole(
        "the number of limits", len(limits), 1, LIMITS_MAX, "give at least one, and not a list"
    )
    for limit in limits:
        check_kind("a limit", limit, Limit, "a limit, as Gcra('100/s')")
    names = [limit.name for limit in limits]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"two limits are called {name!r}: a refusal could not say which one; give them "
                "names"
            )


def _held_only(decision: Decision) -> Decision:
    """*decision* as if only limits on work under way had charged it."""
    taken = tuple(
        moment if standing.limit.held else NOT_TAKEN
        for moment, standing in zip(decision.taken, decision.standings, strict=True)
    )
    return replace(decision, taken=taken)
