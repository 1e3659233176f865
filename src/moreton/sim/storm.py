"""A retry storm in virtual time: services in a chain, each retrying, and the last one fails.

Each caller decides with the real core: a `Series` a call, a `Budget` a caller, and the answer field
`x-moreton-retry: never`, by which only the caller next to the fault retries. Without the two, five
callers with three attempts each turn one call into 3^5 = 243 requests, which keep the last service
down after its fault is over.

Source: Google SRE book, chapters 21 and 22; Bronson et al., "Metastable Failures", HotOS 2021.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random

from moreton.kernel.rng import seeded_rng
from moreton.resilience.core.backoff import Backoff
from moreton.resilience.core.budget import Budget
from moreton.resilience.core.headers import NEVER
from moreton.resilience.core.retrying import Series, SeriesPolicy, Stop

_HOP_SECONDS = 0.001
_FLOOR_MAX_SECONDS = 60.0
_EVENTS_MAX = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What happens: *calm*, then the fault, then *after*, in seconds, under a steady load.

    Of the five *callers* the first is the client. The last service does *capacity* requests a
    second, holds *queue* more and refuses the rest; a caller waits for it *patience* seconds, but
    the work is done nevertheless. During the fault it answers with errors, or, with *slowed* above
    1, takes that many times as long. *protected*: with budgets and the answer field.
    """

    protected: bool
    callers: int = 5
    attempts: int = 3
    calls_per_second: float = 50.0
    capacity: float = 100.0
    queue: int = 100
    patience: float = 0.25
    slowed: float = 1.0
    budget_share: float = 0.2
    budget_per_second: float = 3.0
    calm: float = 10.0
    fault: float = 20.0
    after: float = 20.0


@dataclass(frozen=True, slots=True)
class StormResult:
    """What a storm did.

    *amplification*: requests that reached the last service for each call that the client began
    during the fault. *recovery*: seconds from the end of the fault to the first call from which on
    all succeeded; `None` when that was not so before the end. *failed_calm*, *failed_fault*: calls
    that failed before and during the fault.
    """

    amplification: float
    recovery: float | None
    failed_calm: int
    failed_fault: int
    calls_fault: int


@dataclass(slots=True, eq=False)
class _Call:
    """One call of the client."""

    begun: float
    requests: int = 0
    succeeded: bool | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What comes back; *retry* is the answer's field `x-moreton-retry`."""

    ok: bool
    retry: str = ""


Reply = Callable[[_Answer], None]


class _World:
    """Virtual time: what is due happens in order."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.rng: Random = seeded_rng(seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (self.now + seconds, self._order, then))

    def run_until(self, end: float) -> None:
        while self._due and self._due[0][0] <= end:
            if self._order > _EVENTS_MAX:
                raise RuntimeError(f"more than {_EVENTS_MAX} events: make the storm smaller")
            self.now, _, then = heapq.heappop(self._due)
            then()


class _Last:
    """The last service: one queue, a fixed rate, and a fault for a while."""

    def __init__(self, world: _World, storm: Storm) -> None:
        self._world = world
        self._storm = storm
        self._queue: deque[Reply] = deque()
        self._busy = False

    def ask(self, call: _Call, reply: Reply) -> None:
        call.requests += 1
        if len(self._queue) >= self._storm.queue:
            reply(_Answer(ok=False))
            return
        self._queue.append(reply)
        if not self._busy:
            self._begin()

    def _begin(self) -> None:
        self._busy = True
        slowed = self._storm.slowed if self._faulty() else 1.0
        self._world.later(slowed / self._storm.capacity, self._end)

    def _end(self) -> None:
        self._busy = False
        self._queue.popleft()(_Answer(ok=self._storm.slowed > 1 or not self._faulty()))
        if self._queue:
            self._begin()

    def _faulty(self) -> bool:
        return 0 <= self._world.now - self._storm.calm < self._storm.fault


class _Caller:
    """The client or a service in between: asks the next one, and retries."""

    def __init__(
        self, world: _World, storm: Storm, behind: Callable[[_Call, Reply], None], *, last: bool
    ) -> None:
        self._world = world
        self._protected = storm.protected
        self._behind = behind
        self._patience = storm.patience if last else None
        self._policy = SeriesPolicy(storm.attempts, Backoff(), _FLOOR_MAX_SECONDS)
        self._budget = (
            Budget(storm.budget_share, storm.budget_per_second) if storm.protected else None
        )

    def ask(self, call: _Call, reply: Reply) -> None:
        if self._budget is not None:
            self._budget.deposit(self._world.now)
        self._try(call, Series(self._policy), reply)

    def _try(self, call: _Call, series: Series, reply: Reply) -> None:
        answered = False

        def once(answer: _Answer) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._answered(answer, call, series, reply)

        if self._patience is not None:
            self._world.later(self._patience, lambda: once(_Answer(ok=False)))
        self._world.later(_HOP_SECONDS, lambda: self._behind(call, once))

    def _answered(self, answer: _Answer, call: _Call, series: Series, reply: Reply) -> None:
        if answer.ok:
            reply(answer)
            return
        verdict: float | Stop = Stop.TOLD_NOT_TO
        if answer.retry != NEVER:
            verdict = series.next(
                0.0, now=self._world.now, deadline=inf, budget=self._budget, rng=self._world.rng
            )
        if isinstance(verdict, Stop):
            reply(_Answer(ok=False, retry=NEVER if self._protected else ""))
        else:
            self._world.later(verdict, lambda: self._try(call, series, reply))


def run_storm(storm: Storm, *, seed: int) -> StormResult:
    """Let *storm* happen; the calls begin at random moments, which follow from *seed*."""
    world = _World(seed)
    ask: Callable[[_Call, Reply], None] = _Last(world, storm).ask
    for number in range(storm.callers):
        ask = _Caller(world, storm, ask, last=number == 0).ask
    calls: list[_Call] = []
    end = storm.calm + storm.fault + storm.after

    def begin() -> None:
        call = _Call(world.now)
        calls.append(call)
        ask(call, lambda answer: setattr(call, "succeeded", answer.ok))
        world.later(world.rng.expovariate(storm.calls_per_second), begin)

    begin()
    world.run_until(end)
    return _result(storm, calls)


def _result(storm: Storm, calls: Sequence[_Call]) -> StormResult:
    fault_end = storm.calm + storm.fault
    calm = [call for call in calls if call.begun < storm.calm]
    fault = [call for call in calls if storm.calm <= call.begun < fault_end]
    after = [call for call in calls if call.begun >= fault_end]
    # The last calls are not over yet when the time is: they say nothing.
    settled = [call for call in after if call.succeeded is not None]
    worst = max((call.begun for call in settled if not call.succeeded), default=fault_end)
    recovered = any(call.begun > worst and call.succeeded for call in settled)
    return StormResult(
        amplification=sum(call.requests for call in fault) / len(fault),
        recovery=worst - fault_end if recovered else None,
        failed_calm=sum(call.succeeded is not True for call in calm),
        failed_fault=sum(call.succeeded is False for call in fault),
        calls_fault=len(fault),
    )
