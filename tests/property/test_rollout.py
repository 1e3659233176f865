"""Whatever happens to a migration, the candidate gets what the stage allows and no more."""

from __future__ import annotations

import json
import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.kernel.time import Instant
from moreton.strangler.rollout.core.documents import (
    plan_document,
    plan_from,
    progress_document,
    progress_from,
)
from moreton.strangler.rollout.core.machine import Migration
from moreton.strangler.rollout.core.plan import ErrorGate, Plan, Stage
from moreton.strangler.rollout.core.progress import (
    Commit,
    Event,
    Looked,
    Order,
    Ordered,
    Phase,
    Progress,
    SharesChanged,
)
from moreton.strangler.rollout.core.proportions import (
    Counts,
    _best_on_border,
    _log_likelihood,
    log_evidence_less,
    log_evidence_more,
)
from moreton.strangler.rollout.core.quantiles import Spread, log_evidence_slower
from moreton.strangler.rollout.core.sides import Bin, Look, Side
from moreton.strangler.rollout.core.verdicts import Outcome

HOLD = timedelta(seconds=2)
PLAN = Plan(
    "m",
    "r",
    "old",
    "new",
    (
        Stage("5%", 0.05, hold=HOLD),
        Stage("30%", 0.3, hold=HOLD, manual=True),
        Stage("60%", 0.6, hold=HOLD, no_return=True),
        Stage("100%", 1.0, hold=HOLD),
    ),
    (ErrorGate(),),
)
SIDES = st.builds(
    lambda total, bad: Side(total, min(total, bad)),
    st.sampled_from([0, 30, 3000]),
    st.sampled_from([0, 0, 0, 30]),
)
COUNTS = st.builds(
    lambda total, hits: Counts(min(hits, total), total),
    st.integers(0, 1_000_000),
    st.one_of(st.integers(0, 9), st.integers(0, 1_000_000)),
)
EVENTS = st.one_of(
    st.builds(Ordered, st.sampled_from(Order), force=st.booleans()),
    st.builds(lambda a, b: Looked(Look(a, b)), SIDES, SIDES),
    st.just(Looked(Look(Side(3000, 0), Side(3000, 0)))),
    st.builds(SharesChanged, st.floats(0, 1)),
)


@given(st.lists(EVENTS, max_size=60))
@settings(max_examples=60, deadline=None)
def test_share_rises_only_by_proof_or_by_a_named_order(events: list[Event]) -> None:
    machine, now = Migration(PLAN, Progress()), Instant(0)
    for event in events:
        now += timedelta(seconds=1)
        before, share = machine.progress, machine.share
        effects = machine.handle(event, now)
        for effect in effects:
            if isinstance(effect, Commit):
                assert effect.progress == machine.progress
                assert effect.entry.share == machine.share
        after = machine.progress
        assert machine.share in {0.0, *(stage.share for stage in PLAN.stages)}
        if machine.share > share:
            by_order = isinstance(event, Ordered) and (
                event.force or event.order in {Order.START, Order.RESUME}
            )
            proven = all(
                verdict.outcome is Outcome.PASS
                for effect in effects
                if isinstance(effect, Commit)
                for verdict in effect.entry.verdicts
            )
            assert by_order or (proven and before.phase is Phase.RUNNING)
            assert after.stage <= before.stage + 1
        if before.no_return and machine.share < share:
            forced = isinstance(event, Ordered) and (event.force or event.order is Order.START)
            assert forced, "only somebody who insists goes back past the point of no return"


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_evidence_seldom_rises_while_the_hypothesis_is_true(seed: int) -> None:
    # Ville: it ever exceeds log(1 / a) with a chance of at most a; 1e-9 is never.
    rng = random.Random(seed)
    rate = rng.choice([0.0, 0.01, 0.3])
    hits = [0, 0]
    for total in range(1, 300):
        hits = [each + (rng.random() < rate) for each in hits]
        new, base = Counts(hits[0], total), Counts(hits[1], total)
        assert log_evidence_more(new, base, 0.0) < 20.7
        assert log_evidence_less(new, base, 0.0) < 20.7


@given(COUNTS, COUNTS, st.sampled_from([0.0, 0.001, 0.01, 0.2]), st.floats(0.001, 0.999))
def test_no_share_on_the_border_fits_better_than_the_best(
    candidate: Counts, baseline: Counts, margin: float, at: float
) -> None:
    def fit(share: float) -> float:
        return _log_likelihood(candidate, share + margin) + _log_likelihood(baseline, share)

    best, other = _best_on_border(candidate, baseline, margin), at * (1.0 - margin)
    assert 0.0 < best < 1.0 - margin
    assert fit(best) >= fit(other) - 1e-9 * abs(fit(other))


@given(st.dictionaries(st.integers(1, 99), st.integers(1, 500), min_size=1))
@settings(max_examples=30, deadline=None)
def test_answers_are_no_evidence_against_themselves(times: dict[int, int]) -> None:
    spread = Spread({Bin(lower, 1): count for lower, count in times.items()})
    assert log_evidence_slower(spread, spread, 0.95, 1.1) <= 0.0


@given(st.lists(EVENTS, max_size=20))
@settings(max_examples=20, deadline=None)
def test_migration_read_from_its_documents_is_the_same(events: list[Event]) -> None:
    machine = Migration(PLAN, Progress())
    for number, event in enumerate(events):
        machine.handle(event, Instant(0) + timedelta(seconds=number))
    stored = json.loads(json.dumps([plan_document(PLAN), progress_document(machine.progress)]))
    assert plan_from(stored[0]) == PLAN
    assert progress_from(stored[1]) == machine.progress
