"""A migration as the API shows it."""

from __future__ import annotations

from typing import Any

from moreton.controlplane.migrations.errors import MigrationUnreadable
from moreton.controlplane.migrations.records import Record
from moreton.strangler.rollout.core.documents import verdict_document
from moreton.strangler.rollout.core.plan import Plan, Stage
from moreton.strangler.rollout.core.progress import Phase, Progress, share_of
from moreton.strangler.rollout.core.quantiles import Spread
from moreton.strangler.rollout.core.sides import Side
from moreton.strangler.rollout.core.verdicts import Outcome, Verdict, enough, judge


def to_document(record: Record, progress: Progress, planned: Plan | None) -> dict[str, Any]:
    """How far a migration is by *progress*; *planned* is what moreton.yaml says now."""
    plan = record.plan
    stage, within = plan.stages[progress.stage], plan.answer_within
    verdicts = judge(plan, stage, progress.evidence, progress.past)
    return {
        "name": plan.name,
        "route": plan.route,
        "from": plan.baseline,
        "to": plan.candidate,
        "phase": progress.phase.value,
        "share": share_of(plan, progress),
        "stage": {"number": progress.stage + 1, **stage_document(stage)},
        "stages": [stage_document(each) for each in plan.stages],
        "held": round(progress.held.total_seconds(), 3),
        "waits_for": _waits_for(stage, progress, verdicts),
        "gates": [verdict_document(each) for each in verdicts],
        "baseline": _side_document(progress.evidence.baseline),
        "candidate": _side_document(progress.evidence.candidate),
        "reason": progress.reason,
        "trouble": progress.evidence.trouble,
        "approved": progress.approved,
        "no_return": progress.no_return,
        "tries": progress.tries,
        "changed": record.changed,
        "answer_within": None if within is None else within.total_seconds(),
        "differs": planned is not None and planned != plan,
    }


def unreadable_document(name: str) -> dict[str, Any]:
    """A migration whose state in the store cannot be read: nothing else is known of it."""
    why = str(MigrationUnreadable(name=name))
    return {"name": name, "phase": "unreadable", "stage": None, "share": None, "trouble": why}


def stage_document(stage: Stage) -> dict[str, Any]:
    """A stage as JSON values."""
    return {
        "name": stage.name,
        "share": stage.share,
        "hold": stage.hold.total_seconds(),
        "requests": stage.requests,
        "manual": stage.manual,
        "no_return": stage.no_return,
    }


def _side_document(side: Side) -> dict[str, Any]:
    times = Spread(side.times)
    quantiles = {
        f"p{share * 100:g}_ms": round(times.quantile(share), 2) if times.total else None
        for share in (0.5, 0.95, 0.99)
    }
    return {"requests": side.requests, "errors": side.errors, **quantiles}


def _waits_for(stage: Stage, progress: Progress, verdicts: tuple[Verdict, ...]) -> list[str]:
    """What is missing before the next stage."""
    if progress.phase not in {Phase.RUNNING, Phase.PAUSED}:
        return []
    found = [each.gate for each in verdicts if each.outcome is not Outcome.PASS]
    if progress.held < stage.hold:
        found.append("time")
    if not enough(stage, progress.evidence):
        found.append("requests")
    if stage.manual and not progress.approved:
        found.append("somebody to let it go on")
    if progress.phase is Phase.PAUSED:
        found.append("somebody to resume it")
    return found
