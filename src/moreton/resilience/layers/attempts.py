"""A policy as a loop: `for attempt in policy.attempts(): with attempt: …`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from moreton.resilience.context import attempt_var
from moreton.resilience.layers.layer import Gate
from moreton.resilience.layers.retry import Retry


class Attempt:
    """One attempt, as a context: an error within it leads to the next one, or out of the loop.

    *number* counts from 1; *next_delay* is the wait that comes before it, in seconds.
    """

    def __init__(self, loop: Attempts, number: int, next_delay: float, *, is_async: bool) -> None:
        self.number = number
        self.next_delay = next_delay
        self._loop = loop
        self._is_async = is_async

    def __enter__(self) -> Self:
        if self._is_async:
            raise TypeError(
                "`with` in an `async for` would block the loop, and limit no time: write `async "
                "with`"
            )
        self._loop.enter_inner()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return self._loop.ended(error)

    async def __aenter__(self) -> Self:
        if not self._is_async:
            raise TypeError(
                "`async with` in a plain `for`, whose waits would block the loop: write `async for`"
            )
        await self._loop.enter_inner_async()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return self._loop.ended(error)


class Attempts:
    """The attempts of one call: iterate it once, with `for` or `async for`."""

    def __init__(self, outer: Sequence[Gate], retry: Retry | None, inner: Sequence[Gate]) -> None:
        self._outer = outer
        self._retry = retry
        self._inner = inner
        self._entered: list[tuple[Gate, Any]] = []  # outer gates, then inner ones
        self._outer_count = 0
        self._series = None if retry is None else retry.series()
        self._delay: float | None = 0.0  # before the next attempt; None: there is none
        self._number = 0

    def __iter__(self) -> Iterator[Attempt]:
        self._begin()
        try:
            for gate in self._outer:
                self._enter(gate)
            self._outer_count = len(self._entered)
            while self._delay is not None:
                if self._number and self._retry is not None:
                    self._retry._timing.sleep(self._delay)  # noqa: SLF001 - its other half
                yield self._next(is_async=False)
        except BaseException as error:
            self._break_off(error)
            raise

    async def __aiter__(self) -> AsyncIterator[Attempt]:
        self._begin()
        try:
            for gate in self._outer:
                await self._enter_async(gate)
            self._outer_count = len(self._entered)
            while self._delay is not None:
                if self._number and self._retry is not None:
                    await self._retry._timing.sleep_async(self._delay)  # noqa: SLF001 - as above
                yield self._next(is_async=True)
        except BaseException as error:
            self._break_off(error)
            raise

    def enter_inner(self) -> None:
        """Pass the gates of one attempt."""
        self._number_token = attempt_var.set(self._number)
        try:
            for gate in self._inner:
                self._enter(gate)
        except BaseException:
            attempt_var.reset(self._number_token)
            raise

    async def enter_inner_async(self) -> None:
        """Pass the gates of one attempt."""
        self._number_token = attempt_var.set(self._number)
        try:
            for gate in self._inner:
                await self._enter_async(gate)
        except BaseException:
            attempt_var.reset(self._number_token)
            raise

    def ended(self, error: BaseException | None) -> bool:
        """The attempt ended; whether its error is dealt with, as another attempt follows."""
        attempt_var.reset(self._number_token)
        left = self._leave(self._outer_count, error)
        self._delay = None
        if isinstance(left, Exception) and self._retry is not None and self._series is not None:
            try:
                self._delay = self._retry.after(self._series, left)
            except BaseException as fault:  # of a predicate
                self._break_off(fault)
                raise
        if self._delay is not None:
            return True
        left = self._leave(0, left)
        if left is not None and left is not error:
            raise left
        return False

    def _begin(self) -> None:
        if self._number:
            raise RuntimeError("these attempts were made already: call attempts() for each call")
        if self._retry is not None:
            self._retry.begin()

    def _next(self, *, is_async: bool) -> Attempt:
        delay = self._delay or 0.0
        self._number += 1
        self._delay = None  # a loop that forgets its `with` ends after one round
        return Attempt(self, self._number, delay, is_async=is_async)

    def _enter(self, gate: Gate) -> None:
        try:
            entered = gate.enter()
        except BaseException as error:
            self._break_off(error)
            raise
        self._entered.append((gate, entered))

    async def _enter_async(self, gate: Gate) -> None:
        try:
            entered = await gate.enter_async()
        except BaseException as error:
            self._break_off(error)
            raise
        self._entered.append((gate, entered))

    def _break_off(self, error: BaseException) -> None:
        """*error* ends the loop outside of an attempt; raises what a gate makes of it."""
        left = self._leave(0, error)
        if left is not None and left is not error and not isinstance(error, GeneratorExit):
            raise left

    def _leave(self, keep: int, error: BaseException | None) -> BaseException | None:
        """Leave all gates but the first *keep*, innermost first; the error that comes out."""
        while len(self._entered) > keep:
            gate, entered = self._entered.pop()
            try:
                gate.leave(entered, error)
            except Exception as other:  # noqa: BLE001 - raised in its place later
                error = other
        return error
