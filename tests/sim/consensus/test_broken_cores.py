"""The simulation finds what it looks for: cores with one thing wrong each are caught."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from moreton.sim.consensus import ClusterFault, Plan, draw_plan, run_plan
from moreton.sim.consensus.cluster import Core
from sim.consensus.broken_cores import (
    AnswersBeforeItWrites,
    CutsItsLog,
    ForgetsItsVote,
    SkipsAnFsync,
    VotesForAnyLog,
)

SEEDS_MAX = 200


def caught(core: Core, plan: Callable[[int], Plan] = draw_plan) -> str:
    """What the first of so many seeds that catches *core* says."""
    for seed in range(1, SEEDS_MAX + 1):
        try:
            run_plan(plan(seed), core)
        except ClusterFault as fault:
            return str(fault)
    return f"not caught by {SEEDS_MAX} seeds"


def contested(seed: int) -> Plan:
    """Many short faults among five voters that campaign without asking first."""
    plan = draw_plan(seed)
    settings = replace(plan.settings, pre_vote=False, check_quorum=False, lease_reads=False)
    return replace(
        plan,
        voters=5,
        settings=settings,
        fault_every=plan.fault_every / 2,
        fault_max=plan.fault_max / 4,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "plan", "says"),
    [
        (ForgetsItsVote, contested, r"one vote a term|election safety"),
        (SkipsAnFsync, draw_plan, r"the log was lost or cut|leader completeness"),
        (AnswersBeforeItWrites, draw_plan, r"the log was lost or cut|leader completeness|vote"),
        (VotesForAnyLog, draw_plan, r"leader completeness"),
        (CutsItsLog, draw_plan, r"the log was lost or cut|leader completeness"),
    ],
)
def test_broken_core_is_caught(core: Core, plan: Callable[[int], Plan], says: str) -> None:
    found = caught(core, plan)
    assert re.match(rf"seed \d+: .*({says})", found), found
