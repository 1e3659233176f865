"""Sagas: business that several services do together, step by step, each undone if one fails.

Use it where a piece of work changes what more than one service owns and takes longer than a
transaction may. Not inside one database, and not where others must never see the work half done:
between its steps a saga is visible.

Guarantees: a definition that could not keep them is refused when it is written; a saga that was
begun ends completed or compensated, or is parked with the question that a person has to answer,
however often processes are killed; a step's outcome is durable before the next step begins; a step
may be called twice, with the same key; what was done is undone in reverse order, branches at once,
and what may have been done is undone too; nothing is undone after the point of no return::

    @step
    def reserve(run: Run[dict[str, str]]) -> str:
        return stock.reserve(run.input["article"], key=run.key)

    @reserve.undo
    def release(run: Run[dict[str, str]], reservation: str | None) -> None:
        stock.release(run.do_key)

    @pivot
    def pay(run: Run[dict[str, str]]) -> None:
        payment.charge(run[reserve], key=run.key)  # raise Declined to say no

    ORDER = Saga("order", reserve, pay)
    with Sagas("sqlite:///sagas.sqlite", ORDER) as sagas:
        print(sagas.run(ORDER, {"article": "fig"}).status)
"""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.transactions.saga.core.events import Status
    from moreton.transactions.saga.definition import (
        Saga,
        Step,
        parallel,
        pivot,
        retriable,
        step,
    )
    from moreton.transactions.saga.engine import Sagas
    from moreton.transactions.saga.errors import Declined
    from moreton.transactions.saga.outcome import Outcome
    from moreton.transactions.saga.running import Run
    from moreton.transactions.saga.waits import Child, Pause, Signal
else:  # who takes one part of it loads no other
    __getattr__ = on_demand(
        __name__,
        {
            "core.events": ["Status"],
            "definition": ["Saga", "Step", "parallel", "pivot", "retriable", "step"],
            "engine": ["Sagas"],
            "errors": ["Declined"],
            "outcome": ["Outcome"],
            "running": ["Run"],
            "waits": ["Child", "Pause", "Signal"],
        },
    )

__all__ = [
    "Child",
    "Declined",
    "Outcome",
    "Pause",
    "Run",
    "Saga",
    "Sagas",
    "Signal",
    "Status",
    "Step",
    "parallel",
    "pivot",
    "retriable",
    "step",
]
