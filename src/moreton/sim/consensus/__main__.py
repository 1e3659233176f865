"""Run simulated Raft clusters under every fault; exit status 1 when a promise was broken.

python -m moreton.sim.consensus --runs 20000 --seed 1 --json
python -m moreton.sim.consensus --runs 1 --seed 4711 --trace trace.txt
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from moreton.sim.consensus.plan import draw_plan
from moreton.sim.consensus.run import ClusterFault, run_plan
from moreton.sim.consensus.soak import Soaked, soak

_BATCH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    asked = _parser().parse_args(arguments)
    if asked.trace is not None:
        return _trace(asked.seed, asked.trace)
    began = time.perf_counter()
    soaked = _soak(asked.seed, asked.runs)
    seconds = time.perf_counter() - began
    for fault in soaked.faults:
        sys.stderr.write(f"{fault}\n  {_again(fault.seed)}\n")
    if asked.json:
        document = {**soaked.document(), "first_seed": asked.seed, "seconds": round(seconds, 1)}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(_summary(soaked, seconds) + "\n")
    return 1 if soaked.faults else 0


def _soak(first: int, runs: int) -> Soaked:
    """Run them all, or as many as there is time for before a signal."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.perf_counter()
    soaked = Soaked()
    try:
        for soaked in soak(range(first, first + runs)):
            if soaked.runs % _BATCH == 0 or soaked.runs == runs:
                _say_progress(soaked, runs, time.perf_counter() - began)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted after {soaked.runs:,} of {runs:,} runs\n")
    finally:
        signal.signal(signal.SIGTERM, before)
    return soaked


def _parser() -> argparse.ArgumentParser:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="python -m moreton.sim.consensus",
        description=lines[0],
        epilog="\n".join(lines[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=_positive, default=300, help="how many; default 300")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; default 1")
    parser.add_argument("--json", action="store_true", help="end with one JSON document")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="run the one seed, and write down all of it"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} runs are none; give 1 or more")
    return number


def _trace(seed: int, file: Path) -> int:
    plan = draw_plan(seed)
    said = ""
    try:
        outcome = run_plan(plan, tracing=True)
        trace = outcome.trace
    except ClusterFault as fault:
        said, trace = str(fault), fault.trace
    try:
        file.write_text("\n".join([str(plan), *trace, said]) + "\n")
    except OSError as error:
        sys.stderr.write(f"error: {file} cannot be written, {error.strerror}: no trace is kept\n")
        return 2
    sys.stdout.write(f"{said or f'seed {seed}: nothing broken'}; {len(trace)} lines in {file}\n")
    return 1 if said else 0


def _say_progress(soaked: Soaked, runs: int, seconds: float) -> None:
    each = 1000 * seconds / soaked.runs
    left = (runs - soaked.runs) * each / 60_000
    sys.stderr.write(
        f"{soaked.runs:,} of {runs:,} runs, {each:.0f} ms each, {left:.0f} min to go, "
        f"{len(soaked.faults)} broken promises\n"
    )
    sys.stderr.flush()


def _summary(soaked: Soaked, seconds: float) -> str:
    counts = soaked.counts
    rest = soaked.document()["election_timeouts_to_rest"]
    return (
        f"{soaked.runs:,} runs in {seconds:.0f} s: {len(soaked.faults)} broken promises; "
        f"{soaked.operations:,} operations judged, {counts['elections']:,} elections, "
        f"{counts['configurations']:,} configurations, {counts['sent']:,} messages; "
        f"election timeouts until at rest: {rest}"
    )


def _again(seed: int) -> str:
    return f"see it again: python -m moreton.sim.consensus --seed {seed} --trace trace.txt"


if __name__ == "__main__":
    sys.exit(main())
