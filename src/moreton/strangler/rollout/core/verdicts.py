"""What each gate says of what was seen: pass, fail, or that it cannot tell yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from moreton.strangler.rollout.core.plan import (
    REQUESTS_MIN,
    DifferenceGate,
    ErrorGate,
    Gate,
    LatencyGate,
    MetricGate,
    Plan,
    Stage,
)
from moreton.strangler.rollout.core.proportions import (
    Counts,
    log_evidence_above,
    log_evidence_below,
    log_evidence_less,
    log_evidence_more,
)
from moreton.strangler.rollout.core.quantiles import (
    Spread,
    log_evidence_faster,
    log_evidence_slower,
)
from moreton.strangler.rollout.core.sides import Evidence, Reading, Side

# Of a candidate beside which nobody answers: what fails more often is broken whatever else is.
_ALONE_MAX = 0.5
# What noise is has to be learned first: with more of the answers unknown, the others prove nothing.
_UNDECIDED_MAX = 0.1


class Outcome(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - a word of gates
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # it waits; it never passes by waiting


@dataclass(frozen=True, slots=True)
class Proof:
    """Of how many answers of both sides a verdict is, and how likely at most it is by *chance*.

    For differences the *candidate*'s are those that were compared. While a gate cannot tell yet
    there is no chance to name.
    """

    candidate: int
    baseline: int = 0
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What *gate* says, and a word on why for people; gates that test have a *proof*."""

    gate: str
    outcome: Outcome
    why: str
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class _Bars:
    """What the logarithm of evidence has to reach."""

    fail: float
    passing: float


def judge(
    plan: Plan,
    stage: Stage,
    evidence: Evidence,
    past: Side | None,
    *,
    windows: Sequence[Evidence] = (),
) -> tuple[Verdict, ...]:
    """What every gate of *plan* says of the *evidence* of *stage*, or of its last *windows*.

    A window can only fail.

    When all requests go to the candidate nobody answers beside it: it is then held against
    *past*, what the baseline answered in the last stage in which it did. While there is no answer
    of the baseline at all nothing passes, and a candidate that fails most of its requests fails.
    """
    bars = _Bars(-math.log(plan.chance_of_fail), -math.log(plan.chance_of_pass))
    sudden = _Bars(-math.log(plan.chance_of_sudden_fail), math.inf)
    held_against = past if stage.share == 1.0 else None
    found = []
    for gate in plan.gates:
        if not _is_judged(gate, stage):
            continue
        verdict = _judge(gate, evidence, held_against or evidence.baseline, bars)
        for window in () if isinstance(gate, MetricGate) else windows:
            lately = _judge(gate, window, held_against or window.baseline, sudden)
            if verdict.outcome is not Outcome.FAIL and lately.outcome is Outcome.FAIL:
                verdict = replace(lately, why=f"in the last seconds {lately.why}")
        found.append(verdict)
    return tuple(found)


def _is_judged(gate: Gate, stage: Stage) -> bool:
    match gate:
        case ErrorGate() | LatencyGate():
            return not stage.is_shadow
        case DifferenceGate():
            return stage.copies > 0.0
        case MetricGate():
            return True


def outside(gates: Iterable[Gate], readings: dict[str, Reading]) -> set[str]:
    """The metrics among *readings* that are not where their gate wants them."""
    found = set()
    for gate in gates:
        if isinstance(gate, MetricGate):
            reading = readings.get(gate.name, Reading())
            if reading.value is not None and not _is_within(gate, reading.value):
                found.add(gate.name)
    return found


def _judge(gate: Gate, evidence: Evidence, baseline: Side, bars: _Bars) -> Verdict:
    match gate:
        case ErrorGate():
            return _errors(gate, evidence.candidate, baseline, bars)
        case LatencyGate():
            return _latency(gate, evidence.candidate, baseline, bars)
        case DifferenceGate():
            return _differences(gate, evidence, bars)
        case MetricGate():
            return _metric(gate, evidence)
        case _:
            assert_never(gate)


def _errors(gate: ErrorGate, candidate: Side, baseline: Side, bars: _Bars) -> Verdict:
    new = Counts(candidate.errors, candidate.requests)
    late = f" ({candidate.silent:,} for want of an answer, 504)" if candidate.silent else ""
    if not baseline.requests and log_evidence_above(new, _ALONE_MAX) >= bars.fail:
        why = f"{new.share:.2%} of {new.total:,} failed{late}, and the baseline answered nothing"
        return Verdict(gate.name, Outcome.FAIL, why)
    if not (candidate.requests and baseline.requests):
        return _silent(gate, candidate.requests, candidate, baseline)
    base = Counts(baseline.errors, baseline.requests)
    worse = log_evidence_more(new, base, gate.tolerance)
    fine = log_evidence_less(new, base, gate.tolerance)
    why = (
        f"{new.share:.2%} of {new.total:,} failed{late}, "
        f"beside {base.share:.2%} of {base.total:,}; up to {gate.tolerance:.2%} more is tolerated"
    )
    proof = Proof(candidate.requests, baseline.requests)
    return _told(worse, fine, bars, Verdict(gate.name, Outcome.INCONCLUSIVE, why, proof))


def _latency(gate: LatencyGate, candidate: Side, baseline: Side, bars: _Bars) -> Verdict:
    new, base = Spread(candidate.times), Spread(baseline.times)
    if not (new.total and base.total):
        return _silent(gate, new.total, candidate, baseline)
    factor = 1.0 + gate.tolerance
    worse = log_evidence_slower(new, base, gate.quantile, factor, bar=bars.fail)
    fine = log_evidence_faster(new, base, gate.quantile, factor, bar=bars.passing)
    why = (
        f"p{gate.quantile * 100:g} is {new.quantile(gate.quantile):.3g} ms of {new.total:,}, "
        f"beside {base.quantile(gate.quantile):.3g} ms of {base.total:,}; "
        f"up to {gate.tolerance:.0%} more is tolerated"
    )
    proof = Proof(new.total, base.total)
    return _told(worse, fine, bars, Verdict(gate.name, Outcome.INCONCLUSIVE, why, proof))


def _differences(gate: DifferenceGate, evidence: Evidence, bars: _Bars) -> Verdict:
    seen = Counts(evidence.different, evidence.compared - evidence.undecided)
    if not evidence.compared:
        why = evidence.uncompared or "no answer was compared"
        return Verdict(gate.name, Outcome.INCONCLUSIVE, why)
    worse = log_evidence_above(seen, gate.highest)
    fine = log_evidence_below(seen, gate.highest)
    why = f"{seen.share:.2%} of {seen.total:,} differ; up to {gate.highest:.2%} is tolerated"
    if evidence.undecided:
        why += f"; {evidence.undecided:,} more differ, in what may be noise"
    if evidence.undecided > _UNDECIDED_MAX * evidence.compared:
        fine = -math.inf
    proof = Proof(evidence.compared)
    return _told(worse, fine, bars, Verdict(gate.name, Outcome.INCONCLUSIVE, why, proof))


def _metric(gate: MetricGate, evidence: Evidence) -> Verdict:
    reading = evidence.readings.get(gate.name, Reading(why="it was not asked for yet"))
    if reading.value is None:
        return Verdict(gate.name, Outcome.INCONCLUSIVE, reading.why)
    why = f"it is {reading.value:g}, wanted {_wanted(gate)}"
    if _is_within(gate, reading.value):
        return Verdict(gate.name, Outcome.PASS, why)
    times = evidence.outside.get(gate.name, 0)
    failed = times >= gate.failures
    outcome = Outcome.FAIL if failed else Outcome.INCONCLUSIVE
    return Verdict(gate.name, outcome, f"{why}, {times} times in a row of {gate.failures}")


def _told(worse: float, fine: float, bars: _Bars, open_: Verdict) -> Verdict:
    """*open_* as the evidence decides it: Ville's inequality bounds the chance of so much."""
    assert open_.proof is not None, "only tests are told"
    for outcome, strength, bar in (
        (Outcome.FAIL, worse, bars.fail),
        (Outcome.PASS, fine, bars.passing),
    ):
        if strength >= bar:
            return replace(
                open_, outcome=outcome, proof=replace(open_.proof, chance=math.exp(-strength))
            )
    return replace(open_, why=f"{open_.why}; not sure yet")


def _silent(gate: Gate, known: int, candidate: Side, baseline: Side) -> Verdict:
    """Nothing to judge by: *known* is how much there is of the candidate."""
    who, side = ("the baseline", baseline) if known else ("the candidate", candidate)
    why = f"{who} answered nothing" if not side.requests else f"no answer of {who} was timed yet"
    return Verdict(gate.name, Outcome.INCONCLUSIVE, why)


def _is_within(gate: MetricGate, value: float) -> bool:
    low = gate.lowest is None or value >= gate.lowest
    return low and (gate.highest is None or value <= gate.highest)


def _wanted(gate: MetricGate) -> str:
    if gate.lowest is None:
        return f"at most {gate.highest:g}"
    if gate.highest is None:
        return f"at least {gate.lowest:g}"
    return f"{gate.lowest:g} to {gate.highest:g}"


def enough(stage: Stage, evidence: Evidence) -> bool:
    """Whether the candidate was seen often enough for *stage* to end."""
    seen = evidence.compared if stage.is_shadow else evidence.candidate.requests
    return seen >= max(stage.requests, 0 if stage.is_shadow else REQUESTS_MIN)
