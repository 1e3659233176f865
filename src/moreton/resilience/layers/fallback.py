"""A fallback: an answer of one's own when there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from moreton.resilience.errors import DeadlineExceeded, Refused
from moreton.resilience.events import FellBack, emit, listeners
from moreton.resilience.kinds import Kinds, predicate
from moreton.resilience.layers.layer import (
    AsyncCall,
    AsyncGeneratorCall,
    Call,
    GeneratorCall,
    Layer,
)
from moreton.resilience.sent import is_transient


def is_unavailable(error: BaseException) -> bool:
    """The default: what the other layers raise, and trouble of connections and time."""
    return isinstance(error, Refused | DeadlineExceeded) or is_transient(error)


class Fallback(Layer):
    """Answers with *value*, or with what *value* returns for the error, in place of an error.

    *on* tells for which errors: by default when the destination was not reached or not asked, so
    that faults of one's own program stay visible.
    """

    def __init__(
        self,
        value: object | Callable[[Exception], object],
        *,
        on: Kinds = is_unavailable,
        name: str = "fallback",
    ) -> None:
        self.name = name
        self._value = value
        self._on = predicate("on", on)
        self._used = 0

    def wrap(self, call: Call) -> Call:
        """*call*, or the fallback."""
        if inspect.iscoroutinefunction(self._value):
            raise TypeError(
                f'fallback "{self.name}" is a coroutine function and '
                f"{getattr(call, '__qualname__', call)} is not: make both the same kind"
            )

        def falling_back(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not self._on(error):
                    raise
                return self._answer(error)

        return falling_back

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call*, or the fallback, which may be a coroutine function."""

        async def falling_back(*args: Any, **kwargs: Any) -> Any:
            try:
                return await call(*args, **kwargs)
            except Exception as error:
                if not self._on(error):
                    raise
                answer = self._answer(error)
                return await answer if inspect.isawaitable(answer) else answer

        return falling_back

    def wrap_generator(self, call: GeneratorCall) -> GeneratorCall:
        """Refuse: what was handed out cannot be replaced."""
        raise self._mismatch(call)

    def wrap_async_generator(self, call: AsyncGeneratorCall) -> AsyncGeneratorCall:
        """Refuse: what was handed out cannot be replaced."""
        raise self._mismatch(call)

    def statistics(self) -> int:
        """How often it answered."""
        return self._used

    def describe(self) -> str:
        """What it answers with."""
        value = self._value
        what = getattr(value, "__qualname__", repr(value))
        return f"answers with {what[:60]} when the destination cannot"

    def _answer(self, error: Exception) -> Any:
        self._used += 1
        if listeners:
            emit(FellBack(self.name, error))
        return self._value(error) if callable(self._value) else self._value

    def _mismatch(self, call: object) -> TypeError:
        return TypeError(
            f"{getattr(call, '__qualname__', call)} is a generator function: items that were "
            "handed out cannot be replaced; put the fallback around who reads them"
        )
