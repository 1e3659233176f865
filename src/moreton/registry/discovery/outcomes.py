"""What an error tells of the instance that was asked."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from moreton.registry.discovery.core.members import Outcome
from moreton.resilience.clients.exchange import is_time_over
from moreton.resilience.errors import DeadlineExceeded
from moreton.resilience.sent import is_transient

_CHAIN_MAX = 16
# Of the client itself: the instance was not even asked.
_OWN = frozenset({"PoolTimeout", "LocalProtocolError", "EmptyPoolError"})


def outcome_of(error: BaseException | None) -> Outcome:
    """How a request ended that raised *error*, or none."""
    if error is None:
        return Outcome.ANSWERED
    if not isinstance(error, Exception):
        # Cancelled: by the time limit of the attempt, or because nobody wants the answer.
        return Outcome.FAILED if is_time_over() else Outcome.ABANDONED
    if type(error).__name__ in _OWN:
        return Outcome.ABANDONED
    if any(_is_refusal(each) for each in _chain(error)):
        return Outcome.REFUSED
    if isinstance(error, DeadlineExceeded) or is_transient(error):
        return Outcome.FAILED
    return Outcome.ABANDONED


def _is_refusal(error: BaseException) -> bool:
    # asyncio joins the errors of several addresses into one without a class of its own.
    return isinstance(error, ConnectionRefusedError) or (
        isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """*error* and what is packed into it: libraries use causes, arguments and groups for that."""
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo and len(seen) < _CHAIN_MAX:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            todo.extend(each.exceptions)
        held = (each.__cause__, getattr(each, "reason", None), *each.args[:1])
        todo.extend(one for one in held if isinstance(one, BaseException))
