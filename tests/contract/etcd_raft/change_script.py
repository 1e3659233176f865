"""Speaks the language of etcd's `raft/confchange/testdata` for our changes of configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from contract.etcd_raft.words import configuration_words, progress_lines
from moreton.consensus.core.configuration import (
    ChangeKind,
    ChangeNotPossible,
    NodeChange,
    enter_joint,
    leave_joint,
    simple,
)
from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.core.progress import Progress, reconcile
from moreton.sim.script import Command


@dataclass
class ChangeScript:
    """A leader's configuration and what it knows of each member; one command is one log entry.

    *newer* versions of etcd never begin before the first entry.
    """

    configuration: Configuration = field(default_factory=Configuration)
    progress: dict[NodeId, Progress] = field(default_factory=dict)
    last_index: int = 0
    newer: bool = False

    def run(self, command: Command) -> str:
        """What etcd's harness prints for *command*."""
        try:
            self.configuration = self._next(command)
        except ChangeNotPossible as error:
            return str(error)
        else:
            self.progress = reconcile(
                self.progress,
                self.configuration.members(),
                next_index=max(self.last_index, int(self.newer)),
                messages_max=10,
                bytes_max=1,
            )
            lines = progress_lines(self.progress, self.configuration)
            return "\n".join([configuration_words(self.configuration), *lines])
        finally:
            self.last_index += 1

    def _next(self, command: Command) -> Configuration:
        changes = parse_changes(command.input)
        match command.name:
            case "simple":
                return simple(self.configuration, changes)
            case "enter-joint":
                auto_leave = command.options.get("autoleave") == "true"
                return enter_joint(self.configuration, changes, auto_leave=auto_leave)
            case "leave-joint" if not changes:
                return leave_joint(self.configuration)
        raise ValueError(f"line {command.line}: {command.name} {command.input!r} is not known")


def parse_changes(text: str) -> list[NodeChange]:
    """Words such as `v1 l2 r3 u4`."""
    return [NodeChange(ChangeKind(word[0]), int(word[1:])) for word in text.split()]
