"""How a saga is written: functions as steps, steps in order."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Generic, Never, Protocol, TypeAlias, TypeVar, overload

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.resilience import Backoff, Retry
from moreton.resilience.kinds import Kinds, predicate
from moreton.transactions.saga.codec import Codec
from moreton.transactions.saga.core import plan as core
from moreton.transactions.saga.core.plan import Act, Attempts, Kind, Plan, StepPlan
from moreton.transactions.saga.errors import Declined

T = TypeVar("T")
Function: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Function)

# Enough for an outage of minutes; then a person is asked.
_PATIENT = Retry(
    attempts=12,
    on=Exception,
    idempotent=True,
    budget=None,
    backoff=Backoff.exponential(timedelta(milliseconds=200), cap=timedelta(minutes=1)),
)
_BRIEF = Retry(attempts=3, idempotent=True, budget=None)


class Step(Generic[T]):
    """A step of sagas, and what undoes it. Made by `step`, `pivot` and `retriable`."""

    def __init__(
        self,
        do: Function | None,
        kind: Kind,
        *,
        name: str = "",
        act: Act = Act.CALL,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        deadline: timedelta | None = None,
        declines: Kinds = Declined,
        returns: Any = None,
        harmless: bool = False,
    ) -> None:
        self.name = name or getattr(do, "__name__", "")
        if not self.name or "/" in self.name:
            raise ValueError(f"name is {self.name!r}: give a step a name without a slash")
        self.do, self.kind, self.act, self.harmless = do, kind, act, harmless
        self.retry = retry
        self.attempts = _attempts(retry, timeout, deadline)
        self.declines = predicate("declines", declines)
        self.codec = Codec(returns)
        self.undo_with: Function | None = None
        self.undo_retry: Retry | None = _PATIENT
        self.undo_attempts = _attempts(_PATIENT, None, None)

    @overload
    def undo(self, function: F, /) -> F: ...
    @overload
    def undo(
        self, /, *, retry: Retry | None = ..., timeout: timedelta | None = ...,
        deadline: timedelta | None = ...,
    ) -> Callable[[F], F]: ...  # fmt: skip
    def undo(
        self,
        function: Function | None = None,
        /,
        *,
        retry: Retry | None = _PATIENT,
        timeout: timedelta | None = None,
        deadline: timedelta | None = None,
    ) -> Any:
        """Decorates what undoes this step: it gets the run, and the step's result.

        The result is `None` when the step failed and may have acted all the same: look then, by
        `run.do_key`, what is there to be undone. It is tried up to twelve times by default, and
        then a person is asked. It may run twice, so that it has to be idempotent.
        """

        def bind(function: Function) -> Function:
            if self.undo_with is not None:
                raise ValueError(f'step "{self.name}" has an undo already: which of them undoes it')
            _check_arguments(function, 2, f'the undo of "{self.name}" gets the run and the result')
            self.undo_with, self.undo_retry = function, retry
            self.undo_attempts = _attempts(retry, timeout, deadline)
            return function

        return bind if function is None else bind(function)

    def plan(self) -> StepPlan:
        """This step as far as order goes."""
        return StepPlan(
            self.name,
            self.kind,
            self.act,
            has_undo=self.undo_with is not None,
            harmless=self.harmless,
            attempts=self.attempts,
            undo_attempts=self.undo_attempts,
        )

    def __repr__(self) -> str:
        return f"<{self.kind} step {self.name}>"


class Decorator(Protocol):
    """Makes a step of a function, whose only argument is the run."""

    @overload
    def __call__(self, function: Callable[[Never], Awaitable[T]], /) -> Step[T]: ...
    @overload
    def __call__(self, function: Callable[[Never], T], /) -> Step[T]: ...


class Parallel:
    """Branches that run at once, each a step or a tuple of them; what follows waits for all."""

    def __init__(self, *branches: Part) -> None:
        if not branches:
            raise ValueError("parallel() has no branch: give two or more, or leave it out")
        self.branches = branches


Part: TypeAlias = "Step[Any] | Parallel | Sequence[Part]"


class Saga:
    """The definition of a saga: *parts* in order, each a step, a `parallel`, or a list of parts.

    *version*: raise it when steps or their order change while sagas of it run. *input*: the type
    that inputs are read back as, if it is not plain JSON. *deadline*: when it goes back by itself,
    if it has not passed its point of no return. *locks*: keys of an input which no other saga of
    this engine may hold at a time; they wait in the order in which they were begun.

    Raises `SagaIllDefined` for steps that could not keep what a saga promises: before the pivot one
    without an undo, two pivots, something to undo after the point of no return.
    """

    def __init__(
        self,
        name: str,
        *parts: Part,
        version: int = 1,
        input: Any = None,  # noqa: A002 - that is what it is
        deadline: timedelta | None = None,
        locks: Callable[[Any], Sequence[str]] | None = None,
    ) -> None:
        check_kind("name", name, str)
        check_whole("version", version, 1)
        if deadline is not None:
            check_duration("deadline", deadline)
        if not name:
            raise ValueError("name is empty: sagas are found by it")
        self.name, self.version, self.locks = name, version, locks
        self.codec = Codec(input)
        self.steps = {step.name: step for step in _flat(parts)}
        seconds = None if deadline is None else deadline.total_seconds()
        self.plan = Plan(name, version, _series(parts), deadline=seconds)
        functions = [f for step in self.steps.values() for f in (step.do, step.undo_with)]
        self.is_async = any(inspect.iscoroutinefunction(f) for f in functions)

    def draw(self) -> str:
        """The plan as a Mermaid flow chart."""
        from moreton.transactions.saga.drawing.mermaid import flow_chart  # noqa: PLC0415 - rarely

        return flow_chart(self.plan)

    def __repr__(self) -> str:
        return f"<saga {self.name} version {self.version}>"


@overload
def step(function: Callable[[Never], Awaitable[T]], /) -> Step[T]: ...
@overload
def step(function: Callable[[Never], T], /) -> Step[T]: ...
@overload
def step(
    *, name: str = ..., retry: Retry | None = ..., timeout: timedelta | None = ...,
    deadline: timedelta | None = ..., declines: Kinds = ..., returns: Any = ...,
    harmless: bool = ...,
) -> Decorator: ...  # fmt: skip
def step(function: Function | None = None, /, *, retry: Retry | None = _BRIEF, **rules: Any) -> Any:
    """Decorates a function that does one step, which `undo` can take back.

    It gets the `Run` and returns what is to be kept. *retry*: on which errors and how often it is
    tried again (default: three times, on trouble of connections and time). *timeout*: of one
    attempt, *deadline*: of all. *declines*: errors that are an answer, as `Declined`. *returns*:
    the type that its result is read back as. *harmless*: it changes nothing, and needs no undo.
    It may run twice, with the same `run.key`.
    """
    return _decorator(function, Kind.COMPENSATABLE, {"retry": retry, **rules})


@overload
def pivot(function: Callable[[Never], Awaitable[T]], /) -> Step[T]: ...
@overload
def pivot(function: Callable[[Never], T], /) -> Step[T]: ...
@overload
def pivot(
    *, name: str = ..., retry: Retry | None = ..., timeout: timedelta | None = ...,
    deadline: timedelta | None = ..., declines: Kinds = ..., returns: Any = ...,
) -> Decorator: ...  # fmt: skip
def pivot(
    function: Function | None = None, /, *, retry: Retry | None = _BRIEF, **rules: Any
) -> Any:
    """Decorates the point of no return, as `step`: once done, the saga only goes on.

    When it declines the saga goes back. When it fails otherwise nobody knows whether it acted, so
    that the saga is parked and a person decides.
    """
    return _decorator(function, Kind.PIVOT, {"retry": retry, **rules})


@overload
def retriable(function: Callable[[Never], Awaitable[T]], /) -> Step[T]: ...
@overload
def retriable(function: Callable[[Never], T], /) -> Step[T]: ...
@overload
def retriable(
    *, name: str = ..., retry: Retry | None = ..., timeout: timedelta | None = ...,
    deadline: timedelta | None = ..., returns: Any = ...,
) -> Decorator: ...  # fmt: skip
def retriable(
    function: Function | None = None, /, *, retry: Retry | None = _PATIENT, **rules: Any
) -> Any:
    """Decorates a step after the point of no return, as `step`: it is tried until it succeeds.

    By default up to twelve times, on every error; then the saga is parked and a person decides.
    """
    return _decorator(function, Kind.RETRIABLE, {"retry": retry, **rules})


def parallel(*branches: Part) -> Parallel:
    """*branches* at once: each a step, or a tuple of steps that follow each other."""
    return Parallel(*branches)


def _decorator(function: Function | None, kind: Kind, rules: dict[str, Any]) -> Any:
    def make(function: Function) -> Step[Any]:
        _check_arguments(function, 1, f"step {getattr(function, '__name__', '')!r} gets the run")
        return Step(function, kind, **rules)

    return make if function is None else make(function)


def _check_arguments(function: Function, count: int, what: str) -> None:
    if not callable(function):
        raise TypeError(f"{function!r} cannot be called: {what}; give a function")
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError as error:
        name = getattr(function, "__qualname__", function)
        raise TypeError(
            f"{name} cannot be called with {count} argument{'s' * (count > 1)}, {error}: {what}"
        ) from error
    except ValueError:  # some built-in functions do not tell
        return


def _attempts(
    retry: Retry | None, timeout: timedelta | None, deadline: timedelta | None
) -> Attempts:
    if retry is not None:
        check_kind("retry", retry, Retry, "a moreton.resilience.Retry, or None for one attempt")
    for name, limit in (("timeout", timeout), ("deadline", deadline)):
        if limit is not None:
            check_duration(name, limit)
    return Attempts(
        1 if retry is None else retry.attempts,
        Backoff() if retry is None else retry.backoff,
        None if timeout is None else timeout.total_seconds(),
        None if deadline is None else deadline.total_seconds(),
    )


def _flat(part: Part | Sequence[Part]) -> Iterator[Step[Any]]:
    if isinstance(part, Step):
        yield part
    elif isinstance(part, Parallel):
        yield from (step for branch in part.branches for step in _flat(branch))
    elif isinstance(part, tuple | list):
        yield from (step for inner in part for step in _flat(inner))
    else:
        raise TypeError(f"{part!r} is no step: decorate it with @step, @pivot or @retriable")


def _series(parts: Sequence[Part]) -> core.Series:
    return core.Series(tuple(_node(part) for part in parts))


def _node(part: Part) -> core.Node:
    if isinstance(part, Step):
        return part.plan()
    if isinstance(part, Parallel):
        return core.Parallel(tuple(_node(branch) for branch in part.branches))
    return _series(part)
