"""What a saga is, as plainly as it can be said: the reference that the machine is held to.

A saga walks a tree of steps. Going on: the parts of a series one after the other, the branches of a
parallel at once. When a step that can be undone fails for good, or the pivot says no, it goes back:
what is under way ends first, then what was done is undone, a series from its end, branches at once.
A step that failed without saying no may have acted, so that it is undone too. A pivot that failed
without saying no, a step after it, and an undo that failed for good are for a person to decide.
"""

from __future__ import annotations

from moreton.transactions.saga.core.plan import Kind, Node, Parallel, Series, StepPlan


class Model:
    """Told all that happens to one saga; asserts that it may happen then."""

    def __init__(self, root: Series) -> None:
        self.root = root
        self.done: set[str] = set()  # took effect, for all that is known
        self.ended: set[str] = set()  # of the steps: done, failed for good, or said no
        self.undone: set[str] = set()
        self.stuck: set[str] = set()
        self.running: set[str] = set()
        self.back = False

    def begins(self, step: str) -> None:
        """An attempt of *step* begins."""
        assert not self.back, f"{step} begins though the saga goes back"
        assert step in self.next_steps(self.root), f"{step} begins too early, or again"
        self.running.add(step)

    def ends(self, step: StepPlan, how: str) -> None:
        """*how*: `ok`, `again` (it will be tried again), `unknown` or `no`."""
        self.running.discard(step.name)
        if how == "again":
            return
        self.ended.add(step.name)
        if how == "ok" or (how == "unknown" and step.kind is Kind.COMPENSATABLE):
            self.done.add(step.name)
        if how == "ok":
            return
        if step.kind is Kind.COMPENSATABLE or (step.kind is Kind.PIVOT and how == "no"):
            self.back = True
        else:
            self.stuck.add(step.name)

    def undo_begins(self, step: str) -> None:
        """An attempt to undo *step* begins."""
        assert self.back, f"{step} is undone though the saga goes on"
        assert not self.running, f"{step} is undone while {self.running} still act"
        assert step in self.next_undos(self.root), f"{step} is undone too early, or again"

    def undo_ends(self, step: str, *, ok: bool) -> None:
        """It was undone, or cannot be."""
        (self.undone if ok else self.stuck).add(step)

    def next_steps(self, node: Node) -> set[str]:
        """What may be done next."""
        if isinstance(node, StepPlan):
            return set() if node.name in self.ended else {node.name}
        parts = node.branches if isinstance(node, Parallel) else node.parts
        if isinstance(node, Parallel):
            return {name for part in parts for name in self.next_steps(part)}
        return next((self.next_steps(part) for part in parts if not self.is_over(part)), set())

    def is_over(self, node: Node) -> bool:
        """Whether all of it was done, so that what follows may begin."""
        if isinstance(node, StepPlan):
            return node.name in self.done and node.name in self.ended
        parts = node.branches if isinstance(node, Parallel) else node.parts
        return all(self.is_over(part) for part in parts)

    def next_undos(self, node: Node) -> set[str]:
        """What may be undone next."""
        if isinstance(node, StepPlan):
            left = node.has_undo and node.name in self.done - self.undone
            return {node.name} if left else set()
        if isinstance(node, Parallel):
            return {name for part in node.branches for name in self.next_undos(part)}
        return next((found for part in reversed(node.parts) if (found := self.next_undos(part))),
                    set())  # fmt: skip

    def rests(self, status: str) -> None:
        """It ended, or is parked."""
        if status == "completed":
            assert not self.back
            assert self.is_over(self.root), "completed, and not everything was done"
        elif status == "compensated":
            assert self.back
            assert not self.next_undos(self.root), "compensated, and not everything was undone"
        else:
            assert self.stuck, "parked without a question"
