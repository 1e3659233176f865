"""Migrations as JSON values, for the store: everything that has to survive a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from moreton.gateway.core.moves import cohort_document, cohort_from, trait_document, trait_from
from moreton.strangler.rollout.core.plan import (
    DifferenceGate,
    ErrorGate,
    Gate,
    LatencyGate,
    MetricGate,
    Plan,
    Stage,
)
from moreton.strangler.rollout.core.progress import Entry, Phase, Progress
from moreton.strangler.rollout.core.sides import Bin, Evidence, Reading, Side
from moreton.strangler.rollout.core.verdicts import Verdict

_GATES: Mapping[str, type[Gate]] = {
    "errors": ErrorGate,
    "latency": LatencyGate,
    "differences": DifferenceGate,
    "metric": MetricGate,
}
_KINDS = {kind: word for word, kind in _GATES.items()}


def plan_document(plan: Plan) -> dict[str, Any]:
    """*plan* as JSON values."""
    within = plan.answer_within
    return {
        **{name: getattr(plan, name) for name in ("name", "route", "baseline", "candidate")},
        "confidence": plan.confidence,
        "sticky": None if plan.sticky is None else trait_document(plan.sticky),
        "answer_within": None if within is None else within.total_seconds(),
        "stages": [_stage_document(each) for each in plan.stages],
        "gates": [{"kind": _KINDS[type(each)], **asdict(each)} for each in plan.gates],
    }


def plan_from(document: Mapping[str, Any]) -> Plan:
    """What `plan_document` made. Raises `KeyError`, `TypeError`, `ValueError`."""
    stages = [_stage_from(each) for each in document["stages"]]
    gates = [
        _GATES[each["kind"]](**{name: each[name] for name in each if name != "kind"})
        for each in document["gates"]
    ]
    sticky, within = document.get("sticky"), document.get("answer_within")
    read = {
        "stages": tuple(stages),
        "gates": tuple(gates),
        "sticky": None if sticky is None else trait_from(sticky),
        "answer_within": None if within is None else timedelta(seconds=within),
    }
    return Plan(**{**document, **read})


def _stage_document(stage: Stage) -> dict[str, Any]:
    cohort = None if stage.cohort is None else cohort_document(stage.cohort)
    return {**asdict(stage), "hold": stage.hold.total_seconds(), "cohort": cohort}


def _stage_from(document: Mapping[str, Any]) -> Stage:
    cohort = document.get("cohort")
    read = {
        "hold": timedelta(seconds=document["hold"]),
        "cohort": None if cohort is None else cohort_from(cohort),
    }
    return Stage(**{**document, **read})


def progress_document(progress: Progress) -> dict[str, Any]:
    """*progress* as JSON values."""
    past = progress.past
    return {
        "phase": progress.phase.value,
        "stage": progress.stage,
        "held": progress.held.total_seconds(),
        "evidence": _evidence_document(progress.evidence),
        "past": None if past is None else side_document(past),
        "approved": progress.approved,
        "no_return": progress.no_return,
        "reason": progress.reason,
        "tries": progress.tries,
    }


def progress_from(document: Mapping[str, Any]) -> Progress:
    """What `progress_document` made. Raises `KeyError`, `TypeError`, `ValueError`."""
    past = document["past"]
    return Progress(
        phase=Phase(document["phase"]),
        stage=document["stage"],
        held=timedelta(seconds=document["held"]),
        evidence=_evidence_from(document["evidence"]),
        past=None if past is None else side_from(past),
        approved=document["approved"],
        no_return=document["no_return"],
        reason=document["reason"],
        tries=document["tries"],
    )


def entry_document(entry: Entry) -> dict[str, Any]:
    """*entry* as JSON values."""
    return {**asdict(entry), "verdicts": [verdict_document(each) for each in entry.verdicts]}


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """*verdict* as JSON values."""
    proof = None if verdict.proof is None else asdict(verdict.proof)
    return {
        "gate": verdict.gate,
        "outcome": verdict.outcome.value,
        "why": verdict.why,
        "proof": proof,
    }


def _evidence_document(evidence: Evidence) -> dict[str, Any]:
    return {
        "baseline": side_document(evidence.baseline),
        "candidate": side_document(evidence.candidate),
        "compared": evidence.compared,
        "different": evidence.different,
        "undecided": evidence.undecided,
        "uncompared": evidence.uncompared,
        "readings": {name: asdict(each) for name, each in evidence.readings.items()},
        "outside": dict(evidence.outside),
        "trouble": evidence.trouble,
    }


def _evidence_from(document: Mapping[str, Any]) -> Evidence:
    return Evidence(
        **{
            **document,
            "baseline": side_from(document["baseline"]),
            "candidate": side_from(document["candidate"]),
            "readings": {name: Reading(**each) for name, each in document["readings"].items()},
        }
    )


def side_document(side: Side) -> dict[str, Any]:
    """*side* as JSON values."""
    times = [[each.lower, each.width, count] for each, count in sorted(side.times.items())]
    counts = {"requests": side.requests, "errors": side.errors, "silent": side.silent}
    return {**counts, "times": times}


def side_from(document: Mapping[str, Any]) -> Side:
    """What `side_document` made. Raises `KeyError`, `TypeError`, `ValueError`."""
    times = {Bin(lower, width): count for lower, width, count in document["times"]}
    silent = document.get("silent", 0)
    return Side(document["requests"], document["errors"], times, silent)
