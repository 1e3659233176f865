"""What a file of etcd's shows of its nodes, told from what it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from moreton.sim.script import Command

_READY = re.compile(r"> (\d+) handling Ready$")
_SWITCHED = re.compile(r"INFO (\d+) switched to configuration (.*)$")
_ENTRY = re.compile(r"(\d+)/(\d+) Entry")


@dataclass
class Facts:
    """What is known of one node, as of its last processed `Ready`."""

    soft: str = ""
    hard: str = ""
    configuration: str = ""
    applied: int = 0
    log: dict[int, str] = field(default_factory=dict)

    def agrees(self, known: Facts) -> bool:
        """Whether everything that is *known* of etcd's node holds here."""
        return (
            (self.soft == known.soft or not known.soft)
            and (self.hard == known.hard or not known.hard)
            and (self.configuration == known.configuration or not known.configuration)
            and (self.applied == known.applied or not known.applied)
            and known.log.items() <= self.log.items()
            and (not known.log or max(self.log) == max(known.log))
        )

    def append(self, line: str) -> None:
        """*line* shows an entry, which replaces everything from its index."""
        found = _ENTRY.match(line)
        assert found is not None, line
        index = int(found[2])
        self.log = {i: entry for i, entry in self.log.items() if i < index} | {index: line}


@dataclass
class Told:
    """Folds what etcd's file prints into facts of each node."""

    nodes: dict[int, Facts] = field(default_factory=dict)
    _part: str = ""
    _silent: bool = False

    def read(self, command: Command, expected: str) -> None:
        """Take the output of one case; what happens while it is silent is not known."""
        if command.name == "log-level":
            self._silent = command.words[0].lower() == "none"
        if self._silent or command.options.get("log-level") == "none":
            self.nodes.clear()
            return
        node = int(command.words[0]) if command.name == "process-ready" else 0
        for line in expected.split("\n"):
            if found := _READY.match(line):
                node = int(found[1])
            elif line.startswith("> "):
                node = 0
            elif found := _SWITCHED.search(line):
                self._of(int(found[1])).configuration = found[2]
            elif node:
                self._read_ready(self._of(node), line.strip())

    def _of(self, node: int) -> Facts:
        return self.nodes.setdefault(node, Facts())

    def _read_ready(self, facts: Facts, line: str) -> None:
        head, _, rest = line.partition(" ")
        if line.endswith(":"):
            self._part = line
        elif line.startswith("Lead:"):
            facts.soft = line
        elif head == "HardState":
            facts.hard = rest
        elif head == "Snapshot":
            facts.log = {}
        elif self._part == "Entries:" and _ENTRY.match(line):
            facts.append(line)
        elif self._part == "CommittedEntries:" and (found := _ENTRY.match(line)):
            facts.applied = int(found[2])
