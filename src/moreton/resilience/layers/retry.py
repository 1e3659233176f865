"""Retries as a layer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from datetime import timedelta
from typing import Any

from moreton.kernel.arguments import check_duration, check_kind, check_number, check_whole
from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import Rng, system_rng
from moreton.resilience.context import attempt_var, deadline_var, idempotent_var, inbound_var
from moreton.resilience.core.backoff import Backoff
from moreton.resilience.core.budget import Budget, BudgetStatistics
from moreton.resilience.core.retrying import Series, SeriesPolicy, Stop
from moreton.resilience.events import RetryScheduled, RetryStopped, emit, listeners
from moreton.resilience.kinds import Kinds, predicate
from moreton.resilience.layers.layer import (
    AsyncCall,
    AsyncGeneratorCall,
    Call,
    GeneratorCall,
    Layer,
)
from moreton.resilience.layers.resuming import Relay, Resumed
from moreton.resilience.sent import asked_of, is_transient, proves_unsent
from moreton.resilience.timing import SYSTEM, Timing

ATTEMPTS_MAX = 1000
_NOT_RETRIABLE = Stop.NOT_RETRIABLE  # looked up once
SHARE_MAX = 10.0


class RetryBudget:
    """At most *share* retries a call, or *per_second* if that is more: over ten seconds.

    Give one to all policies that call the same destination. Beyond it a failure is final, so that
    retries add at most *share* to the load of a destination that is down.

    Source: Finagle's RetryBudget; Google SRE book, "Handling Overload".
    """

    def __init__(
        self, share: float = 0.2, *, per_second: float = 3.0, timing: Timing = SYSTEM
    ) -> None:
        check_number("share", share, 0, SHARE_MAX)
        check_number("per_second", per_second, 0)
        if share == 0 and per_second == 0:
            raise ValueError(
                "a budget of 0 allows no retry at all; leave the retries out, or give a share "
                "or a number a second"
            )
        self.share = share
        self.per_second = per_second
        self.core = Budget(share, per_second)
        self._timing = timing

    def statistics(self) -> BudgetStatistics:
        """The state now."""
        return self.core.statistics(self._timing.now())


class Retry(Layer):
    """Tries again what failed, after a while, as often as it makes sense.

    *attempts* in all. *on*: the errors to retry on, as types or a predicate (default: trouble of
    connections and time, answers 429, 502, 503 and 504). Unless *idempotent*, only errors that
    prove that nothing was sent: say so when doing it twice is as good as once. *budget*: shared by
    who calls the same destination; by default one of its own; `None` for none. What a server asks
    by `Retry-After` is waited for, up to *retry_after_max*. An error that is not retried is raised
    as it came, with a note of why.

    A generator is retried until it gave its first item: what was handed out is not handed out
    again.
    """

    def __init__(
        self,
        *,
        attempts: int = 3,
        on: Kinds = is_transient,
        idempotent: bool = False,
        backoff: Backoff | None = None,
        budget: RetryBudget | type[RetryBudget] | None = RetryBudget,
        retry_after_max: timedelta = timedelta(minutes=1),
        name: str = "retry",
        timing: Timing = SYSTEM,
        rng: Rng | None = None,
    ) -> None:
        check_whole("attempts", attempts, 2, ATTEMPTS_MAX, "the first one counts")
        check_duration("retry_after_max", retry_after_max, zero=True)
        self.attempts = attempts
        self.backoff = backoff or Backoff()
        check_kind("backoff", self.backoff, Backoff)
        self.idempotent = idempotent
        if budget is not None and budget is not RetryBudget:
            check_kind("budget", budget, RetryBudget, "a RetryBudget(…), or None for none")
        self.budget = RetryBudget(timing=timing) if isinstance(budget, type) else budget
        self.retry_after_max = retry_after_max
        self.name = name
        self._on = predicate("on", on)
        self._timing = timing
        self._now = timing.now
        self._rng = rng or system_rng()
        self._budget = None if self.budget is None else self.budget.core
        self._deposit = None if self._budget is None else self._budget.deposit
        self._series = SeriesPolicy(attempts, self.backoff, retry_after_max.total_seconds())

    def wrap(self, call: Call) -> Call:
        """*call* with its retries."""
        deposit, now, after = self._deposit, self._now, self.after

        def retrying(*args: Any, **kwargs: Any) -> Any:
            if deposit is not None:
                deposit(now())
            try:
                return call(*args, **kwargs) if kwargs else call(*args)
            except Exception as error:
                series = Series(self._series)
                delay = after(series, error)
                if delay is None:
                    raise
            token = attempt_var.set(2)
            try:
                while True:
                    self._timing.sleep(delay)
                    try:
                        return call(*args, **kwargs) if kwargs else call(*args)
                    except Exception as error:
                        delay = after(series, error)
                        if delay is None:
                            raise
                        attempt_var.set(series.attempt)
            finally:
                attempt_var.reset(token)

        return retrying

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call* with its retries."""
        deposit, now, after = self._deposit, self._now, self.after

        async def retrying(*args: Any, **kwargs: Any) -> Any:
            if deposit is not None:
                deposit(now())
            try:
                return await (call(*args, **kwargs) if kwargs else call(*args))
            except Exception as error:
                series = Series(self._series)
                delay = after(series, error)
                if delay is None:
                    raise
            token = attempt_var.set(2)
            try:
                while True:
                    await self._timing.sleep_async(delay)
                    try:
                        return await (call(*args, **kwargs) if kwargs else call(*args))
                    except Exception as error:
                        delay = after(series, error)
                        if delay is None:
                            raise
                        attempt_var.set(series.attempt)
            finally:
                attempt_var.reset(token)

        return retrying

    def wrap_generator(self, call: GeneratorCall) -> GeneratorCall:
        """*call*, started again until it has given its first item."""

        def retrying(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            self.begin()
            series = Series(self._series)
            while True:
                items = call(*args, **kwargs)
                token = attempt_var.set(series.attempt)
                try:
                    first = next(items)
                except StopIteration as end:
                    return end.value
                except Exception as error:
                    delay = self.after(series, error)
                    if delay is None:
                        raise
                    self._timing.sleep(delay)
                    continue
                finally:
                    attempt_var.reset(token)
                return (yield from Resumed(items, first))

        return retrying

    def wrap_async_generator(self, call: AsyncGeneratorCall) -> AsyncGeneratorCall:
        """*call*, started again until it has given its first item."""

        async def retrying(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            self.begin()
            series = Series(self._series)
            while True:
                relay = Relay(call(*args, **kwargs))
                token = attempt_var.set(series.attempt)
                try:
                    more = await relay.step()
                except Exception as error:
                    delay = self.after(series, error)
                    if delay is None:
                        raise
                else:
                    break
                finally:
                    attempt_var.reset(token)
                await self._timing.sleep_async(delay)
            while more:
                try:
                    relay.sent = yield relay.item
                except BaseException as error:  # noqa: BLE001 - for who is within
                    relay.thrown = error
                more = await relay.step()

        return retrying

    def covers(self, error: BaseException) -> bool:
        """Whether *error* is one to try again after, as far as its kind goes."""
        return self._on(error)

    def begin(self) -> None:
        """A call begins: it adds to the budget."""
        if self._deposit is not None:
            self._deposit(self._now())

    def after(self, series: Series, error: BaseException) -> float | None:
        """The wait, in seconds, before the next attempt after *error*; `None` for no more."""
        verdict: float | Stop = _NOT_RETRIABLE
        if self._on(error):
            floor, final = asked_of(error)
            if final:
                verdict = Stop.TOLD_NOT_TO
            elif self.idempotent or idempotent_var.get() or proves_unsent(error):
                now, deadline = self._now(), deadline_var.get()
                verdict = series.next(floor, now, deadline, self._budget, self._rng)
            else:
                verdict = Stop.MAY_HAVE_BEEN_SENT
        if isinstance(verdict, float):
            if listeners:
                emit(RetryScheduled(self.name, series.attempt - 1, verdict, error))
            return verdict
        if verdict is not _NOT_RETRIABLE:
            error.add_note(f"{self.name}: not tried again ({verdict})")
        if listeners or inbound_var.get() is not None:
            self._stopped(series, verdict)
        return None

    def _stopped(self, series: Series, why: Stop) -> None:
        inbound = inbound_var.get()
        if inbound is not None and why is not Stop.NOT_RETRIABLE:
            inbound.exhausted = True
        if listeners:
            emit(RetryStopped(self.name, series.attempt, why))

    def series(self) -> Series:
        """A new series of attempts, for clients that loop themselves."""
        return Series(self._series)

    def statistics(self) -> BudgetStatistics | None:
        """The state of the budget; `None` without one."""
        return None if self.budget is None else self.budget.statistics()

    def describe(self) -> str:
        """How often, how spaced, within what budget."""
        kinds = "" if self.idempotent else ", only when nothing was sent or the method allows it"
        if self.budget is None:
            bound = "without a budget"
        else:
            bound = (
                f"at most {self.budget.share:.0%} of calls, or {self.budget.per_second:g} a second"
            )
        return (
            f"up to {self.attempts} attempts{kinds}; {self.backoff}; {bound}; Retry-After up to "
            f"{format_duration(self.retry_after_max)} is kept"
        )
