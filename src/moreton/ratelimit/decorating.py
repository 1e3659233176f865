"""Functions that pass a limit first, and hold their place until their work is done."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from typing import Any, TypeVar, cast

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
# Around one call, by its arguments.
Around = Callable[..., AbstractContextManager[None]]
AroundAsync = Callable[..., AbstractAsyncContextManager[None]]


def surrounded(function: FunctionT, around: Around, around_async: AroundAsync) -> FunctionT:
    """*function*, each call within what is *around*; a generator from its first item to its end."""
    made: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        made = _async_generator(function, around_async)
    elif inspect.iscoroutinefunction(function):
        made = _coroutine(function, around_async)
    elif inspect.isgeneratorfunction(function):
        made = _generator(function, around)
    else:
        made = _plain(function, around)
    return cast("FunctionT", functools.wraps(function)(made))


def _async_generator(function: Callable[..., Any], around: AroundAsync) -> Callable[..., Any]:
    async def limited(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with around(*args, **kwargs), aclosing(function(*args, **kwargs)) as items:
            async for item in items:
                yield item

    return limited


def _coroutine(
    function: Callable[..., Awaitable[Any]], around: AroundAsync
) -> Callable[..., Awaitable[Any]]:
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with around(*args, **kwargs):
            return await function(*args, **kwargs)

    return limited


def _generator(function: Callable[..., Any], around: Around) -> Callable[..., Any]:
    def limited(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with around(*args, **kwargs):
            return (yield from function(*args, **kwargs))

    return limited


def _plain(function: Callable[..., Any], around: Around) -> Callable[..., Any]:
    def limited(*args: Any, **kwargs: Any) -> Any:
        with around(*args, **kwargs):
            return function(*args, **kwargs)

    return limited
