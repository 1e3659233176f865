"""A report as JSON values, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from moreton.strangler.reporting.story import QUANTILES, Entry, Numbers, Report, Visit, numbers_of
from moreton.strangler.rollout.core.documents import plan_document
from moreton.strangler.rollout.core.samples import Sample


def report_document(report: Report) -> dict[str, Any]:
    """*report* as JSON values: what the other formats show, and the samples behind the picture."""
    old, new = report.totals
    compared, different = report.compared
    return {
        "migration": report.plan.name,
        "made": report.made.isoformat(timespec="seconds"),
        "phase": report.progress.phase.value,
        "over": report.is_over,
        "share": report.share,
        "reason": report.progress.reason,
        "tries": report.progress.tries,
        "began": None if report.began is None else report.began.isoformat(),
        "ended": None if report.ended is None else report.ended.isoformat(),
        "plan": plan_document(report.plan),
        "baseline": _numbers(old),
        "candidate": _numbers(new),
        "compared": compared,
        "different": different,
        "stages": [_visit(each) for each in report.visits],
        "differences": [
            {
                **asdict(each),
                "pairs": list(each.pairs),
                "first_seen": each.first_seen.isoformat(timespec="seconds"),
                "last_seen": each.last_seen.isoformat(timespec="seconds"),
            }
            for each in report.differences
        ],
        "note": report.note,
        "accepted": [asdict(each) for each in report.accepted],
        "incidents": [_entry(each) for each in report.incidents],
        "history": [_entry(each) for each in report.entries],
        "samples": [_sample(each) for each in report.samples],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "when": entry.when.isoformat(),
        "kind": entry.kind,
        "try": entry.attempt,
        "what": entry.what,
        "stage": entry.stage,
        "share": entry.share,
        "by": entry.by,
        "because": entry.because,
        "verdicts": [dict(each) for each in entry.verdicts],
    }


def _visit(visit: Visit) -> dict[str, Any]:
    return {
        "try": visit.attempt,
        "stage": visit.stage,
        "share": visit.share,
        "entered": visit.entered.isoformat(),
        "left": None if visit.left is None else visit.left.when.isoformat(),
        "passed": visit.passed,
        "baseline": _numbers(visit.baseline),
        "candidate": _numbers(visit.candidate),
        "compared": visit.compared,
        "different": visit.different,
        "verdicts": [dict(each) for each in visit.verdicts],
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "since": round(sample.since, 3),
        "seconds": round(sample.seconds, 3),
        "try": sample.tries,
        "stage": sample.stage + 1,
        "share": sample.share,
        "baseline": _numbers(numbers_of(sample.baseline)),
        "candidate": _numbers(numbers_of(sample.candidate)),
        "compared": sample.compared,
        "different": sample.different,
        "trouble": sample.trouble,
    }


def _numbers(numbers: Numbers) -> dict[str, Any]:
    times = {
        f"p{share * 100:g}_ms": None if time is None else round(time, 2)
        for share, time in zip(QUANTILES, numbers.times, strict=True)
    }
    return {"requests": numbers.requests, "errors": numbers.errors, **times}
