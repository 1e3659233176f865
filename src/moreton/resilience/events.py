"""What the layers tell whoever listens: metrics, logs, tests.

Nothing is made while no one listens.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from moreton.resilience.core.breaker import BreakerState
from moreton.resilience.core.retrying import Stop

_log = logging.getLogger("moreton.resilience")


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """Retry number *attempt* follows after *delay* seconds because of *cause*."""

    name: str
    attempt: int
    delay: float
    cause: object


@dataclass(frozen=True, slots=True)
class RetryStopped:
    """No further attempt is made, after *attempts*."""

    name: str
    attempts: int
    why: Stop


@dataclass(frozen=True, slots=True)
class CallRefused:
    """A layer did not make a call; *code* is that of the error."""

    name: str
    code: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """A breaker is in a new *state*."""

    name: str
    state: BreakerState


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A call was given up after *seconds*."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Hedged:
    """A second call was started because the first one took long."""

    name: str


@dataclass(frozen=True, slots=True)
class FellBack:
    """A fallback answered in place of *cause*."""

    name: str
    cause: BaseException


Event = RetryScheduled | RetryStopped | CallRefused | BreakerChanged | TimedOut | Hedged | FellBack
Listener = Callable[[Event], None]

listeners: list[Listener] = []


def subscribe(listener: Listener) -> None:
    """Call *listener* with every event from now on, in the thread where it happens."""
    if not callable(listener):
        raise TypeError(f"listener is {listener!r}: give a function that takes an event")
    listeners.append(listener)


def unsubscribe(listener: Listener) -> None:
    """Stop calling *listener*; nothing when it does not listen."""
    with contextlib.suppress(ValueError):
        listeners.remove(listener)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call *listener* with every event within the context."""
    subscribe(listener)
    try:
        yield
    finally:
        unsubscribe(listener)


def emit(event: Event) -> None:
    """Tell *event* to all; a listener that fails is logged and spoils no call."""
    for listener in tuple(listeners):
        try:
            listener(event)
        except Exception:  # noqa: BLE001 - whatever a listener does wrong
            _log.exception("a listener failed on %r", event)
