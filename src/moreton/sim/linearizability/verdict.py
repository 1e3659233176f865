"""Judges a history, and says why it is not linearizable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moreton.sim.linearizability.errors import HistoryNotValid, HistoryUndecided, LineFault
from moreton.sim.linearizability.history import FAULTS_MAX, Call, canonical
from moreton.sim.linearizability.model import Model
from moreton.sim.linearizability.search import Found, Search, Step

# About 200 bytes each: an exhausted search stays under a gigabyte.
CONFIGURATIONS_MAX = 2_000_000
_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Violation:
    """No order of one object's operations explains what clients saw.

    *order* explains everything before line *stuck*, and *state* says what it leads to; *others*
    are states that other such orders lead to. *unplaced* is the operation that was answered on
    that line and does not fit; *meanwhile* were under way then and have no place in *order*.
    """

    part: str
    stuck: int
    order: tuple[Call, ...]
    state: str
    others: tuple[str, ...]
    unplaced: Call
    meanwhile: tuple[Call, ...]
    model: Model

    def __str__(self) -> str:
        hidden = len(self.order) - _SHOWN_MAX
        lines = [f"{self.part} is not linearizable: no order explains the answer on {self._where}"]
        lines.append(f"  in the longest order that explains all before it ({len(self.order)}):")
        if hidden > 0:
            lines.append(f"    {hidden} earlier ones, then")
        lines += [self._line(call) for call in self.order[-_SHOWN_MAX:]]
        lines.append(f"  then {self.state}")
        if self.others:
            lines.append(f"  or, in other orders, {'; '.join(self.others)}")
        lines.append("  but this has no place:")
        lines.append(self._line(self.unplaced))
        if self.meanwhile:
            lines.append("  nor does it get one by what was under way meanwhile:")
            lines += [self._line(call) for call in self.meanwhile[:_SHOWN_MAX]]
        if len(self.meanwhile) > _SHOWN_MAX:
            lines.append(f"    and {len(self.meanwhile) - _SHOWN_MAX} more")
        return "\n".join(lines)

    @property
    def _where(self) -> str:
        return f"line {self.stuck}"

    def _line(self, call: Call) -> str:
        lines = f"{call.began}-{'?' if call.ended is None else call.ended}"
        return f"    lines {lines:<9} {canonical(call.process):<6} {self.model.show_call(call)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was judged, and every object that is not linearizable; true when there is none.

    *tried* counts the configurations that were looked at.
    """

    model: str
    operations: int
    unknown: int
    parts: int
    tried: int
    violations: tuple[Violation, ...]

    @property
    def is_linearizable(self) -> bool:
        """Whether some order explains everything that clients saw."""
        return not self.violations

    def __str__(self) -> str:
        return "\n".join(map(str, self.violations)) or "linearizable"


def check_history(
    calls: Sequence[Call], model: Model, *, configurations_max: int = CONFIGURATIONS_MAX
) -> Verdict:
    """Whether *calls*, in the order of their invocations, are linearizable for *model*.

    Milliseconds for a thousand operations of ten clients; exponential in the clients in the worst
    case, which is cut off after *configurations_max* for each object.
    Raises `HistoryNotValid` for calls that the model does not know, `HistoryUndecided`.
    """
    parts = _parts(calls, model)
    violations = []
    tried = 0
    for name, steps in parts.items():
        search = Search([*steps], model.initial(), configurations_max=configurations_max)
        found = search.run()
        tried += found.tried
        if not found.complete:
            raise HistoryUndecided(key=name, tried=found.tried)
        if found.stuck is not None:
            violations.append(_violation(name, found, steps, model))
    unknown = sum(call.ended is None for call in calls)
    return Verdict(model.name, len(calls), unknown, len(parts), tried, tuple(violations))


def _parts(calls: Sequence[Call], model: Model) -> dict[str, dict[Step, Call]]:
    parts: dict[str, dict[Step, Call]] = {}
    faults: list[LineFault] = []
    for call in calls:
        if call.op not in model.ops:
            known = ", ".join(model.ops)
            message = f"{call.op} is no operation of the model {model.name}, which has {known}"
            faults.append(LineFault(call.began, f"{message}; choose another model"))
            continue
        try:
            effect = model.effect(call)
            role = model.role(call)
        except ValueError as error:
            faults.append(LineFault(call.began, str(error)))
            continue
        step = Step(call.began, call.ended, effect, role, _kind(call))
        parts.setdefault(model.part(call), {})[step] = call
    if faults:
        raise HistoryNotValid(faults[:FAULTS_MAX])
    return parts


def _kind(call: Call) -> Any:
    return call.op, canonical(call.key), canonical(call.argument)


def _violation(name: str, found: Found, steps: dict[Step, Call], model: Model) -> Violation:
    stuck = found.stuck
    assert stuck is not None
    placed = set(found.order)
    rest = [call for step, call in steps.items() if step not in placed and step.began < stuck]
    unplaced = next(call for call in rest if call.ended == stuck)
    state, *others = (model.show_state(each) for each in found.states)
    return Violation(
        name,
        stuck,
        tuple(steps[step] for step in found.order),
        state,
        tuple(others),
        unplaced,
        tuple(call for call in rest if call is not unplaced),
        model,
    )
