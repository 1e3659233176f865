"""`python -m bench NAME [--quick] [--json] [--plots FOLDER]`, or `all`; exit 1: a check fails."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console

from bench.report import Result

NAMES = (
    "compare",
    "consensus",
    "effects",
    "election",
    "failover",
    "gateway",
    "gatewaylimits",
    "hitless",
    "linearizability",
    "outbox",
    "propagation",
    "ratelimit",
    "recall",
    "registry",
    "resilience",
    "rollout",
    "rollouts",
    "routes",
    "saga",
    "startup",
    "twophase",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=(*NAMES, "all"))
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, under 45 s")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="put what is drawn there")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    names = NAMES if arguments.name == "all" else (arguments.name,)
    held = True
    for name in names:
        module = importlib.import_module(f"bench.{name}")
        result: Result = module.run(quick=arguments.quick, console=console)
        result.show(console)
        if arguments.plots is not None:
            for plot, drawn in result.plots.items():
                (arguments.plots / f"{plot}.svg").write_text(drawn + "\n")
        if arguments.json:
            print(result.as_line(), flush=True)
        held = held and all(result.checks.values())
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
