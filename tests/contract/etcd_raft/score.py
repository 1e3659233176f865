"""Prints how our nodes fare in the interaction files of any version of etcd's raft.

PYTHONPATH=tests .venv/bin/python -m contract.etcd_raft.score FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from contract.etcd_raft.parity import run_file


def main(folder: Path) -> None:
    """A row for each file, and where it differs, by line."""
    for path in sorted((folder / "testdata").glob("*.txt")):
        cases = list(run_file(path))
        state = sum(case.same_state for case in cases)
        messages = sum(case.same_messages for case in cases)
        lines = [str(case.command.line) for case in cases if not case.same_messages]
        print(f"| `{path.stem}` | {len(cases)} | {state} | {messages} | {' '.join(lines)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
