"""What travels with a call: its deadline, how critical it is, which attempt it is.

Held in context variables, so it follows a thread's calls and a task's children; the clients and
middlewares of this package carry it from service to service.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from moreton.kernel.arguments import check_duration, check_kind
from moreton.resilience.core.headers import Criticality
from moreton.resilience.timing import SYSTEM

# Seconds of the monotonic clock.
deadline_var: ContextVar[float] = ContextVar("moreton_deadline", default=inf)
attempt_var: ContextVar[int] = ContextVar("moreton_attempt", default=1)
criticality_var: ContextVar[Criticality] = ContextVar(
    "moreton_criticality", default=Criticality.CRITICAL
)
# Whether the call under way may be made twice: set by a client that knows the request.
idempotent_var: ContextVar[bool] = ContextVar("moreton_idempotent", default=False)


@dataclass(slots=True)
class Inbound:
    """The request that is being answered: *exhausted* once a call made for it was given up.

    Its answer then tells the caller not to retry: only the layer next to a fault does.
    """

    exhausted: bool = False


inbound_var: ContextVar[Inbound | None] = ContextVar("moreton_inbound", default=None)


def remaining() -> timedelta | None:
    """How long the present call may still take; `None` when it has no deadline, never below 0."""
    deadline = deadline_var.get()
    if deadline == inf:
        return None
    return timedelta(seconds=max(0.0, deadline - SYSTEM.now()))


@contextlib.contextmanager
def deadline(limit: timedelta) -> Iterator[None]:
    """Everything within has to end after *limit*, or earlier if that was so already.

    Clients of this package give up in time and tell the next service; plain code is not stopped.
    """
    check_duration("limit", limit, "a deadline lies ahead", zero=True)
    token = deadline_var.set(min(deadline_var.get(), SYSTEM.now() + limit.total_seconds()))
    try:
        yield
    finally:
        deadline_var.reset(token)


@contextlib.contextmanager
def criticality(level: Criticality) -> Iterator[None]:
    """Calls made within are of *level*, here and in the services behind."""
    check_kind("level", level, Criticality)
    token = criticality_var.set(level)
    try:
        yield
    finally:
        criticality_var.reset(token)


@contextlib.contextmanager
def idempotent() -> Iterator[None]:
    """Calls made within may be made twice: the clients of this package retry them all."""
    token = idempotent_var.set(True)
    try:
        yield
    finally:
        idempotent_var.reset(token)
