"""What every layer is: something that wraps a call; and the commonest kind, a gate."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar, cast

from moreton.resilience.layers.resuming import Relay

P = ParamSpec("P")
T = TypeVar("T")

Call = Callable[..., Any]
AsyncCall = Callable[..., Coroutine[Any, Any, Any]]
GeneratorCall = Callable[..., Generator[Any, Any, Any]]
AsyncGeneratorCall = Callable[..., AsyncGenerator[Any, Any]]


class Layer(ABC):
    """One layer. *name* appears in errors, events and metrics: give few different ones."""

    __slots__ = ()
    name: str

    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]:
        """Decorate *function*: plain, `async def`, a generator or an asynchronous generator.

        Raises `TypeError` when this layer cannot be around a function of that kind.
        """
        return functools.wraps(function)(self.around(function))

    def around(self, function: Callable[P, T], /) -> Callable[P, T]:
        """As the decorator, without the function's name and documentation."""
        if not callable(function):
            raise TypeError(
                f"{function!r} cannot be called: give a function, and stand below @classmethod or "
                "@property, not above"
            )
        inner = inspect.unwrap(function)
        if not inspect.isroutine(inner) and not isinstance(inner, functools.partial | type):
            inner = getattr(inner, "__call__", inner)  # noqa: B004 - what kind of callable is it
        if inspect.isasyncgenfunction(inner):
            return cast("Callable[P, T]", self.wrap_async_generator(cast("Any", function)))
        if inspect.isgeneratorfunction(inner):
            return cast("Callable[P, T]", self.wrap_generator(cast("Any", function)))
        if inspect.iscoroutinefunction(inner):
            return cast("Callable[P, T]", self.wrap_async(cast("Any", function)))
        return self.wrap(function)

    @abstractmethod
    def wrap(self, call: Call) -> Call:
        """*call* with this layer around it."""

    @abstractmethod
    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """As `wrap`, for coroutine functions."""

    @abstractmethod
    def wrap_generator(self, call: GeneratorCall) -> GeneratorCall:
        """As `wrap`, for generator functions."""

    @abstractmethod
    def wrap_async_generator(self, call: AsyncGeneratorCall) -> AsyncGeneratorCall:
        """As `wrap`, for asynchronous generator functions."""

    def __repr__(self) -> str:
        return f'<{type(self).__name__} "{self.name}": {self.describe()}>'

    @abstractmethod
    def describe(self) -> str:
        """What it does, in one line."""

    def statistics(self) -> object:
        """What it did so far; `None` when it keeps nothing."""
        return None


class Gate(Layer):
    """A layer that lets a call in or refuses it, and is told how it ended."""

    __slots__ = ()

    @abstractmethod
    def enter(self) -> Any:
        """Let a call in and return what `leave` wants to have back; raises `Refused`."""

    async def enter_async(self) -> Any:
        """As `enter`; a gate that may have to wait does so here without blocking the loop."""
        return self.enter()

    @abstractmethod
    def leave(self, entered: Any, error: BaseException | None) -> None:
        """The call ended, with *error* or well; may raise another error in its place."""

    def wrap(self, call: Call) -> Call:
        """*call* within the gate."""
        enter, leave = self.enter, self.leave

        def gated(*args: Any, **kwargs: Any) -> Any:
            entered = enter()
            try:
                result = call(*args, **kwargs)
            except BaseException as error:
                leave(entered, error)
                raise
            leave(entered, None)
            return result

        return gated

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call* within the gate."""
        enter, leave = self.enter_async, self.leave

        async def gated(*args: Any, **kwargs: Any) -> Any:
            entered = await enter()
            try:
                result = await call(*args, **kwargs)
            except BaseException as error:
                leave(entered, error)
                raise
            leave(entered, None)
            return result

        return gated

    def wrap_generator(self, call: GeneratorCall) -> GeneratorCall:
        """*call* within the gate, from its first item to its end."""

        def gated(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            entered = self.enter()
            try:
                result = yield from call(*args, **kwargs)
            except GeneratorExit:
                self.leave(entered, None)
                raise
            except BaseException as error:
                self.leave(entered, error)
                raise
            self.leave(entered, None)
            return result

        return gated

    def wrap_async_generator(self, call: AsyncGeneratorCall) -> AsyncGeneratorCall:
        """*call* within the gate, from its first item to its end."""

        async def gated(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            entered = await self.enter_async()
            relay = Relay(call(*args, **kwargs))
            try:
                while await relay.step():
                    try:
                        relay.sent = yield relay.item
                    except BaseException as error:  # noqa: BLE001 - for who is within
                        relay.thrown = error
            except GeneratorExit:
                self.leave(entered, None)
                raise
            except BaseException as error:
                self.leave(entered, error)
                raise
            self.leave(entered, None)

        return gated
