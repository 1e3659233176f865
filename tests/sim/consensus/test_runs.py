"""Seeded runs of whole clusters under every fault, with all checks at every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moreton.sim.consensus import draw_plan, run_plan
from moreton.sim.consensus.__main__ import main
from moreton.sim.consensus.plan import LIVENESS_TIMEOUTS
from moreton.sim.consensus.soak import Soaked, soak

BATCH = 50
EVERY_FAULT = (
    "bridges",
    "crashes",
    "crashes of all",
    "crashes of leaders",
    "cut",
    "disk failures",
    "drifts",
    "duplicated",
    "isolated leaders",
    "lingered",
    "lost",
    "lost disks",
    "one-way cuts",
    "partitions",
    "pauses",
    "records lost",
    "records torn",
    "reordered",
    "storms",
    "trapped",
    "undelivered",
)
EVERY_DEED = ("campaigns", "configurations", "elections", "snapshots sent", "transfers")


def soaked_through(seeds: range) -> Soaked:
    soaked = Soaked()
    for soaked in soak(seeds):
        if soaked.faults:
            pytest.fail(f"{soaked.faults[0]}; python -m moreton.sim.consensus shows it again")
    return soaked


@pytest.mark.long
@pytest.mark.parametrize("batch", range(6))
def test_no_fault_breaks_a_promise(batch: int) -> None:
    soaked = soaked_through(range(batch * BATCH + 1, (batch + 1) * BATCH + 1))
    assert soaked.runs == BATCH
    for name in (*EVERY_FAULT, *EVERY_DEED):
        assert soaked.counts[name], name
    # Enough is done, and known to be done, that the checks have something to look at.
    assert soaked.operations > 20 * BATCH
    assert soaked.unknown < soaked.operations / 3
    assert soaked.counts["elections"] > 2 * BATCH
    assert max(soaked.timeouts) <= LIVENESS_TIMEOUTS


@pytest.mark.soak
def test_twenty_thousand_runs_break_no_promise() -> None:
    assert soaked_through(range(1, 20_001)).runs == 20_000


def test_plans_differ_in_everything_that_matters() -> None:
    plans = [draw_plan(seed) for seed in range(200)]
    assert {plan.voters for plan in plans} == {3, 5}
    for name in ("batching", "overtaking", "durable", "reporting", "wipes"):
        assert {getattr(plan, name) for plan in plans} == {True, False}, name
    for name in ("pre_vote", "check_quorum", "lease_reads"):
        assert {getattr(plan.settings, name) for plan in plans} == {True, False}, name
    assert any(plan.learners for plan in plans)
    assert any(plan.network.in_order for plan in plans)


def test_same_seed_gives_the_same_run() -> None:
    one, other = (run_plan(draw_plan(4), tracing=True) for _ in range(2))
    assert one == other
    assert len(one.trace) > 100
    assert run_plan(draw_plan(4)).counts == one.counts  # looking on changes nothing


def test_same_seed_gives_the_same_run_in_another_process() -> None:
    """Whatever the order of its sets of strings is."""
    outcomes = set()
    for salt in ("1", "2"):
        command = [sys.executable, "-m", "moreton.sim.consensus", "--runs", "2", "--json"]
        ran = subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        document = json.loads(ran.stdout)
        assert document.pop("seconds") >= 0
        outcomes.add(json.dumps(document))
    assert len(outcomes) == 1


def test_command_says_what_the_runs_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "3", "--seed", "8"]) == 0
    printed = capsys.readouterr()
    assert "3 runs in" in printed.out
    assert "0 broken promises" in printed.out
    assert "3 of 3 runs" in printed.err


def test_command_writes_down_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.txt"
    assert main(["--seed", "8", "--trace", str(trace)]) == 0
    assert "seed 8: nothing broken" in capsys.readouterr().out
    assert "gets Carried(message=AppendEntries" in trace.read_text()


def test_command_says_when_the_trace_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seed", "8", "--trace", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_command_refuses_no_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--runs", "0"])
    assert exited.value.code == 2
    assert "give 1 or more" in capsys.readouterr().err
