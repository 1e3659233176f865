"""Steps that are no call: a signal, a pause, another saga."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from moreton.kernel.arguments import check_duration, check_kind
from moreton.transactions.saga.core.plan import Act, Attempts, Kind
from moreton.transactions.saga.definition import Saga, Step
from moreton.transactions.saga.errors import SagaIllDefined
from moreton.transactions.saga.queues.queue import Queue


class Signal(Step[Any]):
    """Waits until `Sagas.signal` says its name: a person approves, a parcel arrives.

    Its result is the signal's value. After *timeout* it counts as declined. After the point of no
    return give *retriable*; then a person is asked when the time is over.
    """

    def __init__(
        self,
        name: str,
        *,
        timeout: timedelta | None = None,
        returns: Any = None,
        retriable: bool = False,
    ) -> None:
        kind = Kind.RETRIABLE if retriable else Kind.COMPENSATABLE
        super().__init__(None, kind, name=name, act=Act.SIGNAL, timeout=timeout, returns=returns)


class Pause(Step[None]):
    """Waits for *length*, however often the program is started anew meanwhile."""

    def __init__(self, name: str, length: timedelta, *, retriable: bool = False) -> None:
        check_duration("length", length)
        kind = Kind.RETRIABLE if retriable else Kind.COMPENSATABLE
        super().__init__(None, kind, name=name, act=Act.PAUSE, timeout=length)


class Child(Step[None]):
    """Runs another saga, whose id is this one's with the step's name after a slash.

    *input*: makes its input of the run; by default it gets the same. When it is compensated, this
    step counts as declined; when it is parked, this saga waits. To undo this step is to compensate
    the child, which must be possible: give *retriable* for a child with a point of no return, which
    then comes after this saga's own. *queue*: where it waits for its turn, so that a step is what
    the queue bounds.
    """

    def __init__(
        self,
        saga: Saga,
        *,
        name: str = "",
        input: Callable[[Any], object] | None = None,  # noqa: A002 - that is what it is
        retriable: bool = False,
        queue: Queue | None = None,
    ) -> None:
        if queue is not None:
            check_kind("queue", queue, Queue)
        if not retriable and not saga.plan.can_be_undone:
            fault = (
                f'its child saga "{saga.name}" passes a point of no return, so that it cannot be '
                "undone; make the child retriable and put it after the pivot"
            )
            raise SagaIllDefined(saga=name or saga.name, faults=[fault])
        kind = Kind.RETRIABLE if retriable else Kind.COMPENSATABLE
        super().__init__(None, kind, name=name or saga.name, act=Act.CHILD)
        self.saga = saga
        self.input_of = input
        self.queue = queue
        self.attempts = Attempts()
