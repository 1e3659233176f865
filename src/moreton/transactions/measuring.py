"""What transactions tell whoever counts: metrics, tests. Nothing is made while no one listens."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping

_log = logging.getLogger("moreton.transactions")

Listener = Callable[[str, float, Mapping[str, str]], None]
"""Called with the name of a measure, how much, and its labels, in the thread where it happens."""

listeners: list[Listener] = []


def subscribe(listener: Listener) -> None:
    """Call *listener* with every measure from now on."""
    if not callable(listener):
        raise TypeError(f"listener is {listener!r}: give a function of a name, a number and labels")
    listeners.append(listener)


def unsubscribe(listener: Listener) -> None:
    """Stop calling *listener*; nothing when it does not listen."""
    with contextlib.suppress(ValueError):
        listeners.remove(listener)


def measure(name: str, amount: float = 1, /, **labels: str) -> None:
    """Tell *amount* to all; a listener that fails is logged and spoils no transaction."""
    for listener in tuple(listeners):
        try:
            listener(name, amount, labels)
        except Exception:  # noqa: BLE001 - whatever a listener does wrong
            _log.exception("a listener failed on %s", name)
