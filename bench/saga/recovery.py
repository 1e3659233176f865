"""A restart over many sagas that wait."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.ledgers.opening import open_ledger
from moreton.transactions.saga.ledgers.port import Begin

PENDING = 100_000
SECONDS_MAX = 1.0
MIB_MAX = 200.0
_AT_A_TIME = 2000


def measure_recovery(folder: Path, checks: dict[str, bool], *, quick: bool) -> dict[str, float]:
    """On SQLite: until the first step begins, and the memory after a thousand sagas."""
    pending = PENDING // 10 if quick else PENDING
    url = f"sqlite:///{folder}/pending.sqlite"
    _fill(url, pending)
    done = subprocess.run(
        [sys.executable, "-m", "bench.saga.workers.recovering", url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    name = f"{pending:,} pending"
    checks[f"{name}: work begins <= {SECONDS_MAX:g} s after a restart"] = (
        found["seconds"] <= SECONDS_MAX
    )
    checks[f"{name}: <= {MIB_MAX:g} MiB"] = found["mib"] <= MIB_MAX
    return {
        f"{name}: first step after, s": round(found["seconds"], 3),
        f"{name}: memory, MiB": round(found["mib"], 1),
        f"{name}: then a second": round(found["rate"], 1),
    }


def _fill(url: str, count: int) -> None:
    ledger = open_ledger(url, lease=timedelta(seconds=30))
    now = ledger.now_nanos() // 1000
    try:
        for start in range(0, count, _AT_A_TIME):
            ledger.commit_all(
                [
                    Begin(f"saga-{n}", "plain-3", 1, "null", now, Status.READY, 0, None)
                    for n in range(start, start + _AT_A_TIME)
                ]
            )
    finally:
        ledger.close()
