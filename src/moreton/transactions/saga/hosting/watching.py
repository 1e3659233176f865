"""Spans and metrics of sagas: each is one trace, which all its workers go on with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from moreton.transactions import measuring, tracing
from moreton.transactions.saga.core.events import Attempt, Rest, Undo
from moreton.transactions.saga.hosting.job import Job


def begun(job: Job) -> None:
    """*job* was begun here: a span in the beginner's trace, linked to the saga's."""
    if measuring.listeners:
        measuring.measure("moreton_saga_begun", saga=job.saga.name)
    if tracing.is_on():
        attributes = {"moreton.saga": job.saga.name, "moreton.saga.id": job.id}
        links = [_trace(job)]
        with tracing.span(f"begin {job.saga.name}", "producer", links=links, attributes=attributes):
            pass


def rested(job: Job, rest: Rest | None) -> None:
    """*job* ended, or is parked."""
    if rest is not None and measuring.listeners:
        measuring.measure("moreton_saga_rested", saga=job.saga.name, status=str(rest.status))


@contextlib.contextmanager
def watched(job: Job, call: Attempt | Undo) -> Iterator[None]:
    """A span and measures around *call*."""
    if not (measuring.listeners or tracing.is_on()):
        yield
        return
    names = {
        "saga": job.saga.name,
        "step": call.step,
        "op": "undo" if isinstance(call, Undo) else "do",
    }
    attributes = {
        "moreton.saga": job.saga.name,
        "moreton.saga.id": job.id,
        "moreton.saga.attempt": call.number,
    }
    name = f"{names['op']} {job.saga.name}/{call.step}"
    start, outcome = time.perf_counter(), "failed"
    try:
        with tracing.span(name, parent=_trace(job), attributes=attributes):
            yield
        outcome = "done"
    except Exception as error:
        if job.saga.steps[call.step].declines(error):
            outcome = "declined"
        raise
    finally:
        if measuring.listeners:
            took = time.perf_counter() - start
            measuring.measure("moreton_saga_steps", **names, outcome=outcome)
            measuring.measure("moreton_saga_step_seconds", took, **names)


def _trace(job: Job) -> dict[str, str]:
    return tracing.derived("saga", job.id, job.saga.name)
