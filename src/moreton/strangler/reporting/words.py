"""How a report writes numbers, times and verdicts: the same in every format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from moreton.strangler.reporting.story import Entry, Numbers, Report, Visit
from moreton.strangler.rollout.core.progress import Happening, Phase

NOTHING = "—"
# Nobody reads more digits, and beyond it a floating point number has none.
_ODDS_MOST = 1e12


def share(value: float) -> str:
    """A share as people write it."""
    return f"{value * 100:.4g}%"


def moment(when: datetime) -> str:
    """A moment, to the second."""
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def lasting(time: timedelta) -> str:
    """How long something took, in the two largest units."""
    seconds = max(0, round(time.total_seconds()))
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0 s"


def milliseconds(time: float | None) -> str:
    """A time, to three digits."""
    if time is None:
        return NOTHING
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def quantiles(numbers: Numbers) -> str:
    """`12 / 40 / 95`, of `QUANTILES`."""
    if not any(each is not None for each in numbers.times):
        return NOTHING
    return " / ".join(milliseconds(each) for each in numbers.times)


def failures(numbers: Numbers) -> str:
    """How many failed, and the share that is."""
    if not numbers.requests:
        return NOTHING
    return f"{numbers.errors:,} ({share(numbers.error_share)})"


def differing(compared: int, different: int) -> str:
    """`3 of 1,200`."""
    return f"{different:,} of {compared:,}" if compared else NOTHING


def sizes(verdict: Mapping[str, Any]) -> str:
    """Of how many answers a verdict is: the candidate's, and the baseline's."""
    proof = verdict.get("proof")
    if proof is None:
        return NOTHING
    if not proof["baseline"]:
        return f"{proof['candidate']:,}"
    return f"{proof['candidate']:,} / {proof['baseline']:,}"


def odds(verdict: Mapping[str, Any]) -> str:
    """How likely at most a verdict is by chance."""
    chance = (verdict.get("proof") or {}).get("chance")
    if chance is None:
        return NOTHING
    if chance * _ODDS_MOST < 1:
        return f"< 1 in 10^{round(math.log10(_ODDS_MOST))}"
    return f"≤ 1 in {1 / chance:,.0f}"


def happened(entry: Entry) -> str:
    """What happened; the last stage goes on into nothing."""
    return "done" if entry.kind == Happening.DONE else entry.what


def left(visit: Visit) -> str:
    """How a stage ended."""
    return "goes on" if visit.left is None else happened(visit.left)


def took(visit: Visit, now: datetime) -> str:
    """How long a stage lasted, so far."""
    return lasting((now if visit.left is None else visit.left.when) - visit.entered)


_PHASES = {
    Phase.PLANNED: "not begun",
    Phase.RUNNING: "under way",
    Phase.PAUSED: "paused",
    Phase.FROZEN: "frozen",
    Phase.ROLLED_BACK: "taken back",
    Phase.DONE: "done",
}


def standing(report: Report) -> str:
    """How a migration stands, in a word or two."""
    return _PHASES[report.progress.phase]


def headline(report: Report) -> str:
    """The sentence that a report begins with."""
    plan, phase = report.plan, report.progress.phase
    who = f"{plan.candidate} answers {share(report.share)} of {plan.route}"
    match phase:
        case Phase.PLANNED:
            return f"Not begun: {plan.baseline} answers all of {plan.route}."
        case Phase.DONE:
            return f"Done: {plan.candidate} answers all of {plan.route}."
        case Phase.ROLLED_BACK:
            return f"Taken back: {plan.baseline} answers all of {plan.route}."
        case _:
            stage = plan.stages[report.progress.stage]
            number = f"stage {report.progress.stage + 1} of {len(plan.stages)}, {stage.name}"
            return f"Still {standing(report)}, {number}: {who}. This is a report so far."


def facts(report: Report) -> list[tuple[str, str, str]]:
    """The numbers of a report at a glance: what, how much, and a word on it."""
    old, new = report.totals
    compared, different = report.compared
    began, until = report.began, report.ended or report.made
    attempts, before = report.progress.tries, share(old.error_share)
    taken_back = sum(each.kind == Happening.ROLLED_BACK for each in report.incidents)
    return [
        (
            "moved",
            f"{new.requests:,}",
            f"answers by {report.plan.candidate}, {old.requests:,} by {report.plan.baseline}",
        ),
        (
            "time",
            lasting(until - began) if began is not None else NOTHING,
            f"{attempts} {'try' if attempts == 1 else 'tries'}",
        ),
        (
            "failures",
            share(new.error_share) if new.requests else NOTHING,
            f"of {report.plan.candidate}'s answers, {before} of {report.plan.baseline}'s",
        ),
        (
            "differences",
            f"{different:,}" if compared else NOTHING,
            f"of {compared:,} compared answers" if compared else "nothing was compared",
        ),
        (
            "incidents",
            f"{len(report.incidents)}",
            f"{taken_back} of them taken back" if report.incidents else "nothing went wrong",
        ),
    ]


# What stands where there is nothing to list.
NONE = {
    "Stages": "No stage has begun.",
    "Proof": "No gate was judged yet.",
    "Differences": "No differences are kept.",
    "Accepted": "Nothing was accepted.",
    "Incidents": "Nothing went wrong.",
    "History": "Nothing happened yet.",
}


def confidence(report: Report) -> str:
    """What the verdicts' chances mean."""
    sure = f"{report.plan.confidence * 100:g}%"
    return (
        f"Gates had to be sure to {sure}: a worse candidate passes a gate, or an equal one is "
        f"taken back, in at most {share(1 - report.plan.confidence)} of all migrations, however "
        "often one looks. By chance alone each verdict is at most as likely as the table says."
    )
