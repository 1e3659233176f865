"""Layers composed to one policy, and what it means."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar, cast

from moreton.resilience.composition import check
from moreton.resilience.core.retrying import schedule
from moreton.resilience.layers.attempts import Attempts
from moreton.resilience.layers.hedge import Hedge
from moreton.resilience.layers.layer import (
    AsyncCall,
    AsyncGeneratorCall,
    Call,
    Gate,
    GeneratorCall,
    Layer,
)
from moreton.resilience.layers.retry import Retry
from moreton.resilience.layers.timeout import Timeout, TotalTimeout

P = ParamSpec("P")
T = TypeVar("T")
_ROWS_MAX = 10
# What tells functions apart: flags of their code.
_KINDS = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy does; `str()` is for people.

    *schedule*: when each attempt begins at the earliest, on average and at the latest, in seconds
    after the first, if every attempt fails at once. *requests_max*: what one call may cause;
    *load*: what many calls cause when all fail, as a multiple.
    """

    layers: tuple[tuple[str, str], ...]
    schedule: tuple[tuple[float, float, float], ...]
    requests_max: int
    load: float

    def __str__(self) -> str:
        width = max(len(kind) for kind, _ in self.layers)
        lines = [f"{kind:{width}}  {text}" for kind, text in self.layers]
        if len(self.schedule) > 1:
            lines += ["", "attempt  earliest      mean    latest"]
            for number, row in enumerate(self.schedule[:_ROWS_MAX], 1):
                lines.append(f"{number:7}" + "".join(f"{seconds:8.2f} s" for seconds in row))
            if len(self.schedule) > _ROWS_MAX:
                lines.append(f"    ... {len(self.schedule)} attempts in all")
        lines += ["", f"one call makes at most {self.requests_max} requests; when all calls fail"]
        lines[-1] += f" the load is at most {self.load:.2f} times that of the calls"
        return "\n".join(lines)


class Policy(Layer):
    """*layers*, read from left to right: the first is outermost.

    A nonsensical order is refused with a `ValueError` that says why. Use it as a decorator, as a
    caller (`policy.call(function, …)`, `await policy.call(coroutine_function, …)`), or as a loop
    (`for attempt in policy.attempts(): with attempt: …`, or `async for`). One policy may be used
    by any number of functions, threads and tasks; what it learns is shared by all of them.
    """

    def __init__(self, *layers: Layer, name: str = "policy") -> None:
        flat = [
            inner
            for layer in layers
            for inner in (layer.layers if isinstance(layer, Policy) else (layer,))
        ]
        check(flat)
        self.layers: tuple[Layer, ...] = tuple(flat)
        self.name = name
        self._calls: dict[int, Call] = {}  # by the kind of function

    def wrap(self, call: Call) -> Call:
        """*call* within all layers."""
        for layer in reversed(self.layers):
            call = layer.wrap(call)
        return call

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call* within all layers."""
        limited = False
        for layer in reversed(self.layers):
            if isinstance(layer, TotalTimeout) and limited:
                call = layer.wrap_async_around_timeout(call)
            else:
                call = layer.wrap_async(call)
            limited = limited or isinstance(layer, Timeout)
        return call

    def wrap_generator(self, call: GeneratorCall) -> GeneratorCall:
        """*call* within all layers."""
        for layer in reversed(self.layers):
            call = layer.wrap_generator(call)
        return call

    def wrap_async_generator(self, call: AsyncGeneratorCall) -> AsyncGeneratorCall:
        """*call* within all layers."""
        for layer in reversed(self.layers):
            call = layer.wrap_async_generator(call)
        return call

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* under this policy; of a coroutine function, the result is to be awaited.

        Give a plain function or an `async def`; decorate generators. Raises `TypeError` when a
        layer cannot be around *function*.
        """
        code = getattr(function, "__code__", None)
        kind = _kind_of(function) if code is None else code.co_flags & _KINDS
        caller = self._calls.get(kind) or self._made(kind, function)
        return cast("T", caller(function, *args, **kwargs))

    def attempts(self) -> Attempts:
        """The attempts of one call, for a loop.

        Raises `TypeError` when a layer has to make the call itself (`Hedge`, `Fallback`).
        """
        outer: list[Gate] = []
        inner: list[Gate] = []
        retry: Retry | None = None
        for layer in self.layers:
            if isinstance(layer, Retry):
                retry = layer
            elif isinstance(layer, Gate):
                (outer if retry is None else inner).append(layer)
            else:
                raise TypeError(
                    f"{type(layer).__name__} makes the call itself, which the body of a loop does "
                    "not let it do: use the policy as a decorator, or leave that layer out"
                )
        if retry is None:
            outer, inner = [], outer
        return Attempts(outer, retry, inner)

    def explain(self) -> Explanation:
        """What this policy does, when it tries again, and what load it may cause."""
        retry = next((one for one in self.layers if isinstance(one, Retry)), None)
        requests = 1
        load = 1.0
        rows = [(0.0, 0.0, 0.0)]
        if retry is not None:
            rows = schedule(retry.backoff, retry.attempts)
            requests = retry.attempts
            load = float(retry.attempts)
            if retry.budget is not None:
                load = min(load, 1 + retry.budget.share)
        for layer in self.layers:
            if isinstance(layer, Hedge):
                requests *= 1 + layer.hedges
                load *= 1 + min(layer.budget.share, layer.hedges)
            if isinstance(layer, TotalTimeout):
                limit = layer.limit.total_seconds()
                rows = [row for row in rows if row[0] < limit]
        described = tuple((type(layer).__name__, layer.describe()) for layer in self.layers)
        return Explanation(described, tuple(rows), requests, load)

    def statistics(self) -> dict[str, object]:
        """The state of each layer that keeps one, by its name.

        Layers of the same name, as those of moreton.yaml have, are told apart by their kind and
        then by their number: `careful: Retry`, `bulkhead: Bulkhead 2`.
        """
        names = Counter(layer.name for layer in self.layers)
        seen: Counter[str] = Counter()
        found: dict[str, object] = {}
        for layer in self.layers:
            state = layer.statistics()
            if state is None:
                continue
            several = names[layer.name] > 1
            key = f"{layer.name}: {type(layer).__name__}" if several else layer.name
            seen[key] += 1
            found[key if seen[key] == 1 else f"{key} {seen[key]}"] = state
        return found

    def describe(self) -> str:
        """The layers, from outside to inside."""
        return " > ".join(type(layer).__name__ for layer in self.layers)

    def _made(self, kind: int, function: Callable[..., Any]) -> Call:
        if kind not in {0, inspect.CO_COROUTINE}:
            raise TypeError(
                f"{getattr(function, '__qualname__', function)} is a generator function: its items "
                "come after the call; decorate it with the policy"
            )
        try:
            caller = self.wrap_async(_call_async) if kind else self.wrap(_call)
        except TypeError:
            self.around(function)  # says the same of the function that was given
            raise
        self._calls[kind] = caller
        return caller


def _kind_of(function: Callable[..., Any]) -> int:
    """As its code would tell, of a callable that has none of its own."""
    if not callable(function):
        raise TypeError(
            f"{function!r} cannot be called: give the function and its arguments apart, "
            "policy.call(f, x) and not policy.call(f(x))"
        )
    call = function if isinstance(function, functools.partial) else type(function).__call__
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        return inspect.CO_COROUTINE
    return 0


def _call(function: Call, /, *args: Any, **kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    if type(result) is CoroutineType:
        result.close()
        raise TypeError(
            f"{getattr(function, '__qualname__', function)} is a plain function that returned a "
            "coroutine, whose failures this policy would not see: give the coroutine function "
            "itself, or an `async def` around it"
        )
    return result


async def _call_async(function: AsyncCall, /, *args: Any, **kwargs: Any) -> Any:
    return await function(*args, **kwargs)
