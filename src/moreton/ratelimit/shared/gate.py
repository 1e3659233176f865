"""The short way through shared limits of one moment each: what is held under the lock is little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from moreton.ratelimit.core.gcra import Gcra
from moreton.ratelimit.gates import Allow
from moreton.ratelimit.shared.locks import ProcessLock

# ruff: noqa: FURB136 - a call of max() is slower than the rest of a decision
Place = tuple[int, int]  # the word of a key's mark, and the mark


@dataclass(frozen=True, slots=True)
class Gate:
    """What the short way needs; keys of which the places are not *known* go by *slow*."""

    words: memoryview[int]
    lock: ProcessLock
    known: Mapping[str, Sequence[Place]]
    clock: Callable[[], int]
    slow: Allow
    recover: Callable[[], None]

    def make(self, limits: Sequence[Gcra]) -> Allow:
        """The gate of *limits*."""
        return _for_one(self, limits[0]) if len(limits) == 1 else _for_several(self, limits)


def _for_one(gate: Gate, limit: Gcra) -> Allow:
    words, clock, slow, recover = gate.words, gate.clock, gate.slow, gate.recover
    enter, leave, find = gate.lock.acquire, gate.lock.release, gate.known.get
    interval, slack = limit.interval, limit.tolerance - limit.interval

    def allow(key: str, cost: int = 1) -> bool:
        places = find(key)
        if cost != 1 or places is None:
            return slow(key, cost)
        ((at, mark),) = places
        # A little before the lock is there: too early rather than too late.
        now = clock()
        try:
            if enter():
                recover()
            if words[at] == mark:
                moment = words[at + 1]
                if moment > now + slack:
                    return False
                words[at + 1] = (moment if moment > now else now) + interval
                return True
        finally:
            leave()
        # Another process put another key there.
        return slow(key, 1)

    return allow


def _for_several(gate: Gate, limits: Sequence[Gcra]) -> Allow:
    words, clock, slow, recover = gate.words, gate.clock, gate.slow, gate.recover
    enter, leave, find = gate.lock.acquire, gate.lock.release, gate.known.get
    steps = [(limit.interval, limit.tolerance - limit.interval) for limit in limits]

    def allow(key: str, cost: int = 1) -> bool:
        places = find(key)
        if cost != 1 or places is None:
            return slow(key, cost)
        now = clock()
        after = []
        try:
            if enter():
                recover()
            for (at, mark), (interval, slack) in zip(places, steps, strict=True):
                if words[at] != mark:
                    break
                moment = words[at + 1]
                if moment > now + slack:
                    return False
                after.append((at + 1, (moment if moment > now else now) + interval))
            else:
                for word, moment in after:
                    words[word] = moment
                return True
        finally:
            leave()
        return slow(key, 1)

    return allow
