"""What people ask of a migration, and when it may not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.progress import (
    Commit,
    Entry,
    Order,
    Ordered,
    Phase,
    Progress,
    Refuse,
    next_stage,
    share_of,
)
from moreton.strangler.rollout.core.sides import Evidence
from moreton.strangler.rollout.core.verdicts import Outcome, Verdict

_UNDER_WAY = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.FROZEN})
# When an order makes sense, and what to do when it does not.
_ALLOWED: Mapping[Order, tuple[frozenset[Phase], str]] = {
    # One that is done would go back to its first stage: that is a rollback, with all its checks.
    Order.START: (
        frozenset({Phase.PLANNED, Phase.ROLLED_BACK}),
        "see how far it is by `moreton migrate status`; what is done begins anew after a rollback",
    ),
    Order.ADVANCE: (frozenset({Phase.RUNNING, Phase.FROZEN}), "start or resume it first"),
    Order.PAUSE: (frozenset({Phase.RUNNING}), "only what runs can pause"),
    Order.FREEZE: (frozenset({Phase.RUNNING, Phase.PAUSED}), "only what is under way can freeze"),
    Order.RESUME: (
        frozenset({Phase.PAUSED, Phase.FROZEN, Phase.ROLLED_BACK}),
        "only what is paused, frozen or rolled back can be resumed",
    ),
    Order.ROLLBACK: (_UNDER_WAY | {Phase.DONE}, "all requests go to the baseline already"),
    Order.NO_RETURN: (_UNDER_WAY | {Phase.DONE}, "declare it once data changes one way"),
}
_WORDS: Mapping[Order, str] = {
    Order.START: "started",
    Order.ADVANCE: "went on by order",
    Order.PAUSE: "paused",
    Order.FREEZE: "frozen",
    Order.RESUME: "resumed",
    Order.ROLLBACK: "rolled back by order",
    Order.NO_RETURN: "point of no return declared",
}


def follow(
    plan: Plan, progress: Progress, ordered: Ordered, verdicts: tuple[Verdict, ...]
) -> Commit | Refuse:
    """What *ordered* makes of *progress*, whose gates say *verdicts* now."""
    phases, todo = _ALLOWED[ordered.order]
    if progress.phase not in phases:
        return Refuse(f'migration "{plan.name}" is {progress.phase}', todo)
    after = _after(plan, progress, ordered, verdicts)
    if isinstance(after, Refuse):
        return after
    what = _WORDS[ordered.order]
    if ordered.order is Order.ADVANCE and after.stage == progress.stage and after.approved:
        what = "let go on, once the gates pass"
    elif ordered.force:
        what += " with force"
    entry = Entry(
        what,
        plan.stages[after.stage].name,
        share_of(plan, after),
        ordered.by,
        ordered.because,
        verdicts,
    )
    return Commit(after, entry)


def _after(
    plan: Plan, progress: Progress, ordered: Ordered, verdicts: Sequence[Verdict]
) -> Progress | Refuse:
    match ordered.order:
        case Order.START:
            return _begun(plan, progress)
        case Order.ADVANCE:
            return _advanced(plan, progress, verdicts, force=ordered.force)
        case Order.PAUSE | Order.FREEZE:
            phase = Phase.PAUSED if ordered.order is Order.PAUSE else Phase.FROZEN
            return replace(progress, phase=phase, reason=ordered.because)
        case Order.RESUME:
            return _resumed(plan, progress)
        case Order.ROLLBACK:
            return _taken_back(plan, progress, ordered)
        case Order.NO_RETURN:
            return replace(progress, no_return=True)


def _begun(plan: Plan, progress: Progress) -> Progress:
    first = plan.stages[0].no_return
    return Progress(phase=Phase.RUNNING, no_return=first, tries=progress.tries + 1)


def _resumed(plan: Plan, progress: Progress) -> Progress:
    """Where it was; from the first stage after a rollback, as nothing of it is proven any more."""
    if progress.phase is Phase.ROLLED_BACK:
        return _begun(plan, progress)
    if progress.phase is Phase.FROZEN:  # what it froze for would freeze it again at once
        progress = replace(progress, evidence=Evidence())
    return replace(progress, phase=Phase.RUNNING, reason="")


def _advanced(
    plan: Plan, progress: Progress, verdicts: Sequence[Verdict], *, force: bool
) -> Progress | Refuse:
    if force:
        return next_stage(plan, progress)
    stage = plan.stages[progress.stage]
    if progress.phase is Phase.RUNNING and stage.manual and not progress.approved:
        return replace(progress, approved=True)
    waits = [f"{each.gate} ({each.why})" for each in verdicts if each.outcome is not Outcome.PASS]
    why = f"waits for {'; '.join(waits)}" if waits else "waits for its time or its requests"
    if progress.phase is Phase.FROZEN:
        why = "is frozen"
    what = f'stage "{stage.name}" of migration "{plan.name}" {why}'
    return Refuse(what, "wait, or go on without proof by --force")


def _taken_back(plan: Plan, progress: Progress, ordered: Ordered) -> Progress | Refuse:
    if progress.no_return and not ordered.force:
        what = (
            f'migration "{plan.name}" is past its point of no return, so going back may lose data'
        )
        return Refuse(what, "freeze it and mend the candidate, or use --force if you know better")
    return replace(progress, phase=Phase.ROLLED_BACK, reason=ordered.because or "by order")
