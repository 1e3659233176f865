"""Writes down what clients ask and are told, as it happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from moreton.kernel.time import Instant
from moreton.sim.linearizability.history import Call, Event, EventType, pair_events, write_events


class Recorder:
    """The history of a run, event by event. A process has one operation under way at a time.

    A client that gives up waiting records `info` and may go on under the same name.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._under_way: dict[Any, Event] = {}

    def invoke(self, process: Any, op: str, key: Any, value: Any, now: Instant) -> None:
        """*process* begins *op*; *value* is its argument. Call it before the request leaves."""
        if process in self._under_way:
            raise ValueError(f"process {process!r} has an operation under way: answer that first")
        event = Event(len(self.events) + 1, process, "invoke", op, key, value, _seconds(now))
        self.events.append(event)
        self._under_way[process] = event

    def ok(self, process: Any, value: Any, now: Instant) -> None:
        """It took effect; *value* is what *process* was told. Call it once the answer is there."""
        self._answer("ok", process, value, now)

    def fail(self, process: Any, now: Instant) -> None:
        """It certainly did not take effect."""
        self._answer("fail", process, None, now)

    def info(self, process: Any, now: Instant) -> None:
        """Nobody knows: it may take effect at any later time, or never."""
        self._answer("info", process, None, now)

    def is_waiting(self, process: Any) -> bool:
        """Whether *process* has an operation under way."""
        return process in self._under_way

    def calls(self) -> list[Call]:
        """The operations so far; those without an answer have an unknown outcome."""
        return pair_events(self.events)

    def text(self) -> str:
        """The history as JSON lines, for `moreton history check`."""
        return write_events(self.events)

    def _answer(self, kind: EventType, process: Any, value: Any, now: Instant) -> None:
        begun = self._under_way.pop(process, None)
        if begun is None:
            raise ValueError(f"process {process!r} has nothing under way that could be {kind}")
        number = len(self.events) + 1
        self.events.append(Event(number, process, kind, begun.op, begun.key, value, _seconds(now)))


def _seconds(now: Instant) -> float:
    return (now - Instant(0)) / timedelta(seconds=1)
