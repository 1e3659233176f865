"""Histories that are linearizable because of how they are made: to try a checker on."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Literal, NamedTuple, TypeAlias

from moreton.kernel.time import Instant
from moreton.sim.linearizability.recorder import Recorder

# What is asked: operation, key, argument.
Asked: TypeAlias = tuple[str, Any, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """So many *operations* of busy *clients*: *draw* makes one, *do* runs it at its moment.

    The share *unknown* of them, in [0, 1], is never answered, and half of those never happen.
    """

    operations: int
    clients: int
    draw: Callable[[Random, int], Asked]
    do: Callable[[str, Any, Any], Any]
    unknown: float = 0.0


class _Due(NamedTuple):
    millis: float
    order: int
    client: int
    step: Literal["begin", "do", "ok", "info"]
    asked: Asked


_NOTHING: Asked = ("", None, None)


class _Making:
    def __init__(self, workload: Workload, rng: Random) -> None:
        self.recorder = Recorder()
        self._workload, self._rng = workload, rng
        self._queue: list[_Due] = []
        self._results: dict[int, Any] = {}
        self._order = self._begun = 0

    def run(self) -> None:
        for client in range(self._workload.clients):
            self._push(self._rng.random(), client, "begin")
        while self._queue:
            due = heapq.heappop(self._queue)
            now = Instant(0) + timedelta(milliseconds=due.millis)
            if due.step == "do":
                self._results[due.client] = self._workload.do(*due.asked)
            elif due.step == "begin":
                self._begin(due, now)
            else:
                if due.step == "ok":
                    self.recorder.ok(due.client, self._results.pop(due.client), now)
                else:
                    self.recorder.info(due.client, now)
                self._push(due.millis, due.client, "begin")

    def _begin(self, due: _Due, now: Instant) -> None:
        if self._begun == self._workload.operations:
            return
        asked = self._workload.draw(self._rng, self._begun)
        self._begun += 1
        self.recorder.invoke(due.client, *asked, now)
        lost = self._rng.random() < self._workload.unknown
        middle = due.millis + self._rng.random()
        if not lost or self._rng.random() < 0.5:
            self._push(middle, due.client, "do", asked)
        self._push(middle + self._rng.random(), due.client, "info" if lost else "ok")

    def _push(
        self,
        millis: float,
        client: int,
        step: Literal["begin", "do", "ok", "info"],
        asked: Asked = _NOTHING,
    ) -> None:
        self._order += 1
        heapq.heappush(self._queue, _Due(millis, self._order, client, step, asked))


def record(workload: Workload, rng: Random) -> Recorder:
    """A history in which every client asks again as soon as it was answered.

    Each operation happens at a random moment between its two lines, one after the other.
    """
    making = _Making(workload, rng)
    making.run()
    return making.recorder


class RegisterObject:
    """A register that does one thing at a time."""

    def __init__(self) -> None:
        self.value: Any = None

    def do(self, op: str, key: Any, argument: Any) -> Any:
        """Do it; what the client is told."""
        del key
        if op == "read":
            return self.value
        if op == "write":
            self.value = argument
            return None
        expected, new = argument
        if self.value != expected:
            return False
        self.value = new
        return True


def draw_register(values: int, *, cas: bool) -> Callable[[Random, int], Asked]:
    """Reads and writes in equal parts, and with *cas* as many exchanges.

    They write *values* different ones; with 0 each writes its own.
    """
    names = ("read", "write", "cas") if cas else ("read", "write")

    def draw(rng: Random, number: int) -> Asked:
        op = names[rng.randrange(len(names))]
        new = rng.randrange(values) if values else number + 1
        if op == "read":
            return op, "x", None
        if op == "write":
            return op, "x", new
        return op, "x", [rng.randrange(values or number + 1), new]

    return draw
