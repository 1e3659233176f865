"""How alike a file of etcd's runs on our nodes: in what it prints, and in what nodes then hold.

*Messages*: a case prints the same, line by line, but for etcd's own logging. *State*: whatever of
role, leader, term, vote, commit index, log, applied index and configuration etcd's file has shown
by the end of a case, our nodes have it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.etcd_raft.facts import Told
from contract.etcd_raft.interaction import Interaction
from moreton.sim.script import Command, read_script
from support.etcd_raft import is_newer

_LOGGING = re.compile(r"\s*(?:DEBUG|INFO|WARN|ERROR) ")


@dataclass(frozen=True)
class Case:
    """One case of a file: what was expected, what came, and whether the states agree."""

    command: Command
    expected: str
    printed: str
    same_state: bool

    @property
    def same_messages(self) -> bool:
        """Whether both are the same but for etcd's own logging."""
        return self.expected == self.printed


def run_file(path: Path) -> Iterator[Case]:
    """Every case of *path*, run on our nodes."""
    ours, told = Interaction(newer=is_newer(path.parents[1])), Told()
    for command, expected in read_script(path):
        printed = ours.run(command)
        told.read(command, expected)
        same_state = all(
            node in ours.peers and ours.peers[node].facts.agrees(known)
            for node, known in told.nodes.items()
        )
        yield Case(command, _without_logging(expected), printed, same_state)


def _without_logging(text: str) -> str:
    lines = [line for line in text.split("\n") if not _LOGGING.match(line)]
    return "\n".join(lines) or "ok"
