"""A benchmark of the outbox that is killed takes its servers along."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from support.waits import ANSWER_SECONDS, SECONDS, end_at_once, line_of

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from bench.outbox.servers import Nats, Program, postgres

folder = Path(sys.argv[1])
with postgres() as url:
    nats, program = Nats(folder), Program(["sleep", "600"], folder / "log")
    nats.start()
    program.start()
    print(url, flush=True)
    time.sleep(600)
"""


def test_killed_benchmark_of_the_outbox_leaves_no_process(tmp_path: Path) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        url = line_of(bench.stdout, "that all runs", ANSWER_SECONDS)
        folder = Path(url.strip().partition("host=")[2])
        assert (folder / "data").is_dir()
        servers = [pid for pid in pids() if parent(pid) == bench.pid]
    finally:
        end_at_once(bench)
    assert len(servers) == 3, "PostgreSQL, NATS and a program"
    until = time.monotonic() + SECONDS
    while left := [pid for pid in servers if parent(pid)]:
        assert time.monotonic() < until, f"they go on: {left}"
        time.sleep(0.01)
    shutil.rmtree(folder)


def pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def parent(pid: int) -> int:
    """The parent of a process, 0 when it has ended."""
    try:
        state, found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if state == "Z" else int(found)
