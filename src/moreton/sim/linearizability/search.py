"""Finds an order of operations that explains what clients saw, or that there is none.

Wing and Gong's search, depth first, with Lowe's memory of what was reached before: which operations
are placed and the state that they left. An operation may come next if it began before any that is
not placed ended. Orders that differ in nothing that matters are looked at once:

- What fits and only reads is placed at once: any order that goes on from here still does.
- A write that the next one covers is put off while it can be: see `moreton.sim...covering`.
- An operation of unknown outcome is placed only where it matters: not where it changes nothing, and
  not before one that undoes it or could as well come first. It may never have happened, or later.
- Of several of the same unknown operation, the earliest is placed first.

Sources: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993; Lowe, "Testing for
Linearizability", 2017; Athalye's Porcupine.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from moreton.sim.linearizability.covering import NOTHING_COVERED, Covered
from moreton.sim.linearizability.model import Effect, Role
from moreton.sim.linearizability.queue import Queue

# What was placed, newest first: (step, the rest).
_Path: TypeAlias = "tuple[Step, _Path] | None"
STATES_MAX = 8


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operation: lines where it began and ended, `None` if that is unknown; what it does.

    *kind* is the same for those that would do the same.
    """

    began: int
    ended: int | None
    effect: Effect
    role: Role
    kind: Hashable


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a search.

    *stuck* is the line of the first answer that no order explains, `None` if one explains all;
    *order* explains everything before that line, and *states* are what such orders lead to.
    *tried* counts the configurations that were looked at; the search is given up (*complete* is
    false) when they become too many.
    """

    stuck: int | None
    order: tuple[Step, ...]
    states: tuple[Any, ...]
    tried: int
    complete: bool = True


class _Configuration(NamedTuple):
    """Operations that are placed, and the state after them.

    *unknown* is the set of those of unknown outcome. *before* is, when the last one is such, that
    and the state that it found. It and *covered* limit what may come next.
    """

    state: Any
    unknown: int
    before: tuple[Step, Any] | None
    covered: Covered
    path: _Path
    depth: int


class _Move(NamedTuple):
    after: _Configuration
    number: int | None  # in the queue; `None`: of unknown outcome


class Search:
    """One search over *steps*, given in the order in which they began."""

    def __init__(self, steps: Sequence[Step], initial: Any, *, configurations_max: int) -> None:
        self._known = [step for step in steps if step.ended is not None]
        self._ended = [step.ended or 0 for step in self._known]
        self._sets = [step.role is Role.SETS for step in self._known]
        self._unknown = [step for step in steps if step.ended is None]
        self._twin = _earlier_twins(self._unknown)
        self._queue = Queue([(step.began, step.ended or 0) for step in self._known])
        self._seen: set[Hashable] = set()
        self._limit = configurations_max
        self._frontier = -1
        self._states: dict[Any, None] = {}
        self._start = _Configuration(initial, 0, None, NOTHING_COVERED, None, 0)
        self._best = self._start

    def run(self) -> Found:
        """Search to the end; memory grows with the configurations looked at."""
        here, moves = self._start, self._moves(self._start)
        above: list[tuple[_Configuration, Iterator[_Move], int | None]] = []
        while self._queue:
            if len(self._seen) >= self._limit:
                return self._found(complete=False)
            move = next(moves, None)
            if move is not None:
                if move.number is not None:
                    self._queue.place(move.number)
                if self._is_new(move.after):
                    above.append((here, moves, move.number))
                    here, moves = move.after, self._moves(move.after)
                elif move.number is not None:
                    self._queue.take_back(move.number)
                continue
            if not above:
                return self._found()
            here, moves, number = above.pop()
            if number is not None:
                self._queue.take_back(number)
        return Found(None, _order(here.path), (here.state,), len(self._seen))

    def _moves(self, here: _Configuration) -> Iterator[_Move]:
        candidates, first_end = self._queue.candidates()
        self._note(here, first_end)
        # When the operations that may be covered end.
        rivals = [self._ended[each] for each in candidates if self._sets[each]]
        changing: list[tuple[int, int, Any]] = []
        for number in candidates:
            step = self._known[number]
            state = step.effect(here.state)
            if state is None or _is_idle(here.before, step, state):
                continue
            if step.role is Role.READS:
                covered = here.covered.then_other(step.began, rivals)
                if covered is not None:
                    yield _Move(_after(here, step, state, covered), number)
                return
            changing.append((self._ended[number], number, state))
        # Who ended first is the least free: the others can still be placed later.
        changing.sort(key=lambda each: each[:2])
        for ended, number, state in changing:
            step = self._known[number]
            if self._sets[number]:
                covered = here.covered.then_set(step.began, ended, rivals)
            else:
                covered = here.covered.then_other(step.began, rivals)
            if covered is not None:
                yield _Move(_after(here, step, state, covered), number)
        yield from self._unknown_moves(here, first_end, candidates, rivals)

    def _unknown_moves(
        self,
        here: _Configuration,
        first_end: int,
        candidates: Sequence[int],
        rivals: Sequence[int],
    ) -> Iterator[_Move]:
        possible = list(self._possible_unknown(here, first_end))
        # What may come after one of them, for it to matter.
        after_it = [self._known[number] for number in candidates]
        after_it += [step for _, step in possible if step.role is Role.CHANGES]
        for number, step in possible:
            state = step.effect(here.state)
            if state is None or state == here.state or _is_idle(here.before, step, state):
                continue
            if not _matters(step, here.state, state, after_it):
                continue
            covered = here.covered.then_other(step.began, rivals)
            if covered is not None:
                after = _after(here, step, state, covered)
                unknown = here.unknown | 1 << number
                yield _Move(after._replace(unknown=unknown, before=(step, here.state)), None)

    def _possible_unknown(self, here: _Configuration, first_end: int) -> Iterator[tuple[int, Step]]:
        for number, step in enumerate(self._unknown):
            if step.began > first_end:
                return
            twin = self._twin[number]
            if not here.unknown >> number & 1 and (twin is None or here.unknown >> twin & 1):
                yield number, step

    def _is_new(self, here: _Configuration) -> bool:
        key = (self._queue.placed, here[:4])
        size = len(self._seen)
        self._seen.add(key)
        return len(self._seen) > size

    def _note(self, here: _Configuration, first_end: int) -> None:
        if first_end < self._frontier:
            return
        if first_end > self._frontier:
            self._frontier = first_end
            self._states.clear()
            self._best = here
        elif here.depth > self._best.depth:
            self._best = here
        if len(self._states) < STATES_MAX:
            self._states[here.state] = None

    def _found(self, *, complete: bool = True) -> Found:
        best = self._best
        states = dict.fromkeys([best.state, *self._states])
        return Found(
            self._frontier, _order(best.path), tuple(states), len(self._seen), complete=complete
        )


def _after(here: _Configuration, step: Step, state: Any, covered: Covered) -> _Configuration:
    return _Configuration(state, here.unknown, None, covered, (step, here.path), here.depth + 1)


def _matters(unknown: Step, before: Any, state: Any, candidates: Sequence[Step]) -> bool:
    """Whether one of *candidates* may follow *unknown*, which leads from *before* to *state*."""
    for step in candidates:
        after = step.effect(state)
        if after is not None and not _is_idle((unknown, before), step, after):
            return True
    return False


def _is_idle(before: tuple[Step, Any] | None, step: Step, after: Any) -> bool:
    """Whether the unknown operation just before *step* could be left out, or come after it."""
    if before is None:
        return False
    unknown, state = before
    without = step.effect(state)
    if without is None:
        return False
    # Of two unknown ones that could change places, each would else be put off for the other.
    can_wait = step.ended is not None and unknown.effect(without) == after
    return without == after or can_wait


def _earlier_twins(steps: Sequence[Step]) -> list[int | None]:
    """For each step the number of the nearest earlier one that does the same."""
    latest: dict[Hashable, int] = {}
    twins = []
    for number, step in enumerate(steps):
        twins.append(latest.get(step.kind))
        latest[step.kind] = number
    return twins


def _order(path: _Path) -> tuple[Step, ...]:
    steps = []
    while path is not None:
        step, path = path
        steps.append(step)
    return tuple(reversed(steps))
