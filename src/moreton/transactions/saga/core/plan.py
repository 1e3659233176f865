"""A saga's plan: its steps, which come after which, and what makes a plan impossible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from moreton.resilience.core.backoff import Backoff
from moreton.transactions.saga.core.errors import SagaIllDefined


class Kind(StrEnum):
    """What a step means for going back."""

    COMPENSATABLE = "compensatable"  # it can be undone
    PIVOT = "pivot"  # the point of no return
    RETRIABLE = "retriable"  # after it: cannot be undone, and is tried until it succeeds


class Act(StrEnum):
    """How a step happens."""

    CALL = "call"  # a function is called
    SIGNAL = "signal"  # somebody says so
    PAUSE = "pause"  # time passes
    CHILD = "child"  # another saga runs to its end


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often something is tried, how spaced, and for how long at most; seconds."""

    most: int = 1
    backoff: Backoff = field(default_factory=Backoff)
    timeout: float | None = None  # of one attempt
    deadline: float | None = None  # of all of them


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step, as far as order and undoing go."""

    name: str
    kind: Kind = Kind.COMPENSATABLE
    act: Act = Act.CALL
    has_undo: bool = True
    harmless: bool = False  # it changes nothing, so that there is nothing to undo
    attempts: Attempts = field(default_factory=Attempts)
    undo_attempts: Attempts = field(default_factory=Attempts)


@dataclass(frozen=True, slots=True)
class Series:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """All at once; what follows waits for all of them."""

    branches: tuple[Node, ...]


Node: TypeAlias = StepPlan | Series | Parallel


class Plan:
    """*root* as a table: steps in the order in which they are written, and what comes before each.

    Raises `SagaIllDefined` for a plan that could not keep what a saga promises.
    """

    __slots__ = ("after", "before", "deadline", "fingerprint", "index", "name", "root", "steps",
                 "version")  # fmt: skip

    def __init__(
        self, name: str, version: int, root: Series, *, deadline: float | None = None
    ) -> None:
        self.name, self.version, self.root, self.deadline = name, version, root, deadline
        self.steps: list[StepPlan] = []
        self.before: list[frozenset[int]] = []
        self._wire(root, frozenset())
        self.after: list[frozenset[int]] = [
            frozenset(j for j, befores in enumerate(self.before) if i in befores)
            for i in range(len(self.steps))
        ]
        self.index = {step.name: i for i, step in enumerate(self.steps)}
        _check(self)
        shape = json.dumps(self.shape(), separators=(",", ":"), sort_keys=True)
        self.fingerprint = hashlib.sha256(shape.encode()).hexdigest()[:16]

    def shape(self) -> dict[str, Any]:
        """Names, order and kinds as a document; how often something is tried is no part of it."""
        return {"name": self.name, "version": self.version, "root": _shape(self.root)}

    @property
    def can_be_undone(self) -> bool:
        """Whether a saga of this plan that ended well could still be compensated."""
        return all(step.kind is Kind.COMPENSATABLE for step in self.steps)

    def _wire(self, node: Node, entry: frozenset[int]) -> frozenset[int]:
        """Number the steps of *node*, which come after *entry*; those it ends with."""
        if isinstance(node, StepPlan):
            self.steps.append(node)
            self.before.append(entry)
            return frozenset([len(self.steps) - 1])
        if isinstance(node, Series):
            for part in node.parts:
                entry = self._wire(part, entry)
            return entry
        exits = [self._wire(branch, entry) for branch in node.branches]
        return frozenset().union(*exits) if exits else entry


def plan_of(shape: dict[str, Any]) -> Plan:
    """The plan that `Plan.shape` described, with one attempt a step."""
    root = _node(shape["root"])
    assert isinstance(root, Series)
    return Plan(shape["name"], shape["version"], root)


def _shape(node: Node) -> Any:
    if isinstance(node, StepPlan):
        shape = {"step": node.name, "kind": node.kind, "act": node.act, "undo": node.has_undo}
        return {**shape, "harmless": True} if node.harmless else shape
    if isinstance(node, Series):
        return {"series": [_shape(part) for part in node.parts]}
    return {"parallel": [_shape(branch) for branch in node.branches]}


def _node(shape: Any) -> Node:
    if "step" in shape:
        kind, act = Kind(shape["kind"]), Act(shape["act"])
        harmless = shape.get("harmless", False)
        return StepPlan(shape["step"], kind, act, has_undo=shape["undo"], harmless=harmless)
    if "series" in shape:
        return Series(tuple(map(_node, shape["series"])))
    return Parallel(tuple(map(_node, shape["parallel"])))


def _check(plan: Plan) -> None:
    faults = list(_faults(plan))
    if faults:
        raise SagaIllDefined(saga=plan.name, faults=faults)


def _faults(plan: Plan) -> Iterator[str]:
    seen: set[str] = set()
    for step in plan.steps:
        if step.name in seen:
            yield (
                f'step "{step.name}" is there twice: what the log says of it would be of neither; '
                "give each step its own name"
            )
        seen.add(step.name)
    pivots = [i for i, step in enumerate(plan.steps) if step.kind is Kind.PIVOT]
    if len(pivots) > 1:
        names = " and ".join(f'"{plan.steps[i].name}"' for i in pivots)
        yield (
            f"pivots {names}: after the first nothing is undone, before the second everything "
            "may have to be; keep one, and make those after it retriable"
        )
    for i, step in enumerate(plan.steps):
        yield from _faults_of(plan, i, step, pivots)


def _faults_of(plan: Plan, i: int, step: StepPlan, pivots: list[int]) -> Iterator[str]:
    final = [j for j, other in enumerate(plan.steps) if other.kind is not Kind.COMPENSATABLE]
    if step.kind is Kind.COMPENSATABLE:
        if any(j in _ancestors(plan, i) for j in final):
            yield (
                f'step "{step.name}" comes after the point of no return, so that nothing would '
                "ever undo it; make it retriable"
            )
        elif any(i not in _ancestors(plan, j) for j in final):
            yield (
                f'step "{step.name}" runs beside a step that cannot be undone: should it fail, '
                "the saga could go neither on nor back; put one after the other"
            )
        elif step.act is Act.CALL and not step.has_undo and not step.harmless:
            yield (
                f'step "{step.name}" has no undo: if a later one fails, what it did would stay; '
                f"add @{step.name}.undo, or say that it is the pivot or changes nothing"
            )
    elif step.kind is Kind.PIVOT:
        alone = [j for j in range(len(plan.steps)) if j != i and _beside(plan, i, j)]
        if alone:
            other = plan.steps[alone[0]].name
            yield (
                f'the pivot "{step.name}" runs beside "{other}": which of them decides would be '
                "open; put one after the other"
            )
    elif any(i in _ancestors(plan, j) for j in pivots):
        yield (
            f'step "{step.name}" is retriable and comes before the pivot: if that fails, nothing '
            "would undo it; give it an undo, or put it after the pivot"
        )


def _ancestors(plan: Plan, i: int) -> set[int]:
    found: set[int] = set()
    todo = list(plan.before[i])
    while todo:
        j = todo.pop()
        if j not in found:
            found.add(j)
            todo += plan.before[j]
    return found


def _beside(plan: Plan, i: int, j: int) -> bool:
    return i not in _ancestors(plan, j) and j not in _ancestors(plan, i)
