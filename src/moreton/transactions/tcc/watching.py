"""Spans and metrics of TCC transactions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

from moreton.transactions import measuring, tracing
from moreton.transactions.barrier.call import Call
from moreton.transactions.tcc.core.machine import Answered, State
from moreton.transactions.tcc.log import Record


class Stands(Protocol):
    """How a transaction stands."""

    @property
    def state(self) -> State:
        """How far it is."""
        ...


@contextlib.contextmanager
def driven(record: Record) -> Iterator[list[Any]]:
    """Around the driving of a transaction; its outcome is to be appended to what this gives."""
    found: list[Stands] = []
    start = time.perf_counter()
    attributes = {"moreton.tcc.id": record.transaction_id, "moreton.tcc.state": str(record.state)}
    with tracing.span("tcc", attributes=attributes):
        yield found
    if found and measuring.listeners:
        measuring.measure("moreton_tcc_transactions", state=str(found[0].state))
        measuring.measure("moreton_tcc_seconds", time.perf_counter() - start)


def asking(call: Call) -> AbstractContextManager[Any]:
    """A span around what a participant is asked."""
    attributes = {"moreton.tcc.id": call.transaction_id, "moreton.tcc.branch": call.branch}
    return tracing.span(f"{call.act} {call.branch}", "client", attributes=attributes)


def headed(call: Call) -> Call:
    """*call* with the trace that it is a part of."""
    return replace(call, headers=tracing.headers()) if tracing.is_on() else call


def replied(answer: Answered) -> Answered:
    """*answer*, counted."""
    if measuring.listeners:
        measuring.measure(
            "moreton_tcc_calls",
            participant=answer.branch, act=str(answer.act), reply=str(answer.reply),
        )  # fmt: skip
    return answer
