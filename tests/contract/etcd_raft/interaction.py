"""Speaks the language of etcd's `raft/testdata`: whole clusters, one message at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from contract.etcd_raft.change_script import parse_changes
from contract.etcd_raft.peer import ELECTION_TICKS, SETTINGS, TICK, Peer
from contract.etcd_raft.words import (
    ROLES,
    V1_CONTEXT,
    entry_words,
    kind_of,
    message_words,
    progress_lines,
)
from moreton.consensus.core.configuration import ConfigurationChange, Transition
from moreton.consensus.core.events import (
    Campaign,
    Event,
    Propose,
    ProposeChange,
    Receive,
    TransferLeadership,
    Unreachable,
)
from moreton.consensus.core.messages import (
    Configuration,
    HardState,
    InstallSnapshot,
    Message,
    SnapshotMeta,
)
from moreton.consensus.core.state import Recovered
from moreton.sim.script import Command

_QUIET = "none"


class Interaction:
    """The nodes of one file, and the messages between them that nobody has delivered yet.

    *newer*: the file is of a version after etcd 3.4.
    """

    def __init__(self, *, newer: bool = False) -> None:
        self.newer = newer
        self.peers: dict[int, Peer] = {}
        self.messages: list[Message] = []
        self._level = ""
        self._lines: list[str] = []
        self._commands: dict[str, Callable[[Command], None]] = {
            "add-nodes": self._add_nodes,
            "campaign": lambda command: self._tell(command, Campaign()),
            "compact": self._compact,
            "deliver-msgs": self._deliver_messages,
            "log-level": self._set_level,
            "process-ready": lambda command: self._process(self._peer(command)),
            "propose": lambda command: self._tell(command, Propose(command.words[1].encode())),
            "propose-conf-change": self._propose_change,
            "raft-log": lambda command: self._print_log(self._peer(command)),
            "stabilize": self._stabilize,
            "status": self._print_status,
            "tick-heartbeat": lambda command: self._peer(command).tick(),
            # Those that newer versions have too.
            "raft-state": self._print_states,
            "report-unreachable": self._report_unreachable,
            "send-snapshot": self._send_snapshot,
            "set-randomized-election-timeout": self._set_timeout,
            "tick-election": lambda command: self._peer(command).tick(ELECTION_TICKS),
            "transfer-leadership": self._transfer,
        }

    def run(self, command: Command) -> str:
        """What etcd's harness prints for *command*, but for lines of etcd's own logging."""
        self._lines = []
        if command.name not in self._commands:
            return f"{command.name} is nothing that our core knows"
        self._commands[command.name](command)
        if not self._lines:
            return "ok"
        if _QUIET in {self._level, command.options.get("log-level")}:
            return "ok" if self.newer else "ok (quiet)"
        return "\n".join(self._lines)

    # --- commands -----------------------------------------------------------------------------

    def _add_nodes(self, command: Command) -> None:
        index = command.number("index", 0)
        configuration = Configuration(
            voters=frozenset(map(int, command.items("voters"))),
            learners=frozenset(map(int, command.items("learners"))),
        )
        recovered = Recovered()
        if index:
            snapshot = SnapshotMeta(index, 1, configuration)
            recovered = Recovered(HardState(commit=index), snapshot, applied=index)
        settings = replace(
            SETTINGS,
            pre_vote=command.options.get("prevote") == "true",
            check_quorum=command.options.get("checkquorum") == "true",
            lease_reads=command.options.get("read-only") == "lease-based",
            inflight_messages_max=command.number("inflight", SETTINGS.inflight_messages_max),
        )
        for _ in range(int(command.words[0])):
            node = 1 + len(self.peers)
            self.peers[node] = Peer(node, recovered, settings=settings, at_once=not self.newer)

    def _compact(self, command: Command) -> None:
        peer = self._peer(command)
        peer.state.log.compact(int(command.words[1]))
        self._print_log(peer)

    def _deliver_messages(self, command: Command) -> None:
        kind = command.options.get("type")
        count = sum(self._deliver(int(word), kind) for word in command.words)
        for target in command.items("drop"):
            for message in self._take_messages(int(target), kind):
                self._print(f"dropped: {self._words(message)}")
                count += 1
        if not count:
            self._lines.append("no messages")

    def _set_level(self, command: Command) -> None:
        self._level = command.words[0].lower()

    def _propose_change(self, command: Command) -> None:
        change = ConfigurationChange(
            tuple(parse_changes(command.input)),
            Transition(command.options.get("transition", "auto")),
            V1_CONTEXT if command.options.get("v1") == "true" else b"",
        )
        self._tell(command, ProposeChange(change))

    def _stabilize(self, command: Command) -> None:
        peers = [self.peers[int(word)] for word in command.words] or list(self.peers.values())
        moved = True
        while moved:
            moved = False
            for peer in peers:
                if peer.has_ready:
                    moved = True
                    self._lines.append(f"> {peer.id} handling Ready")
                    self._indented(partial(self._process, peer))
            for peer in peers:
                if any(message.target == peer.id for message in self.messages):
                    moved = True
                    self._lines.append(f"> {peer.id} receiving messages")
                    self._indented(partial(self._deliver, peer.id))

    def _print_status(self, command: Command) -> None:
        state = self._peer(command).state
        if state.is_leader:
            self._lines += progress_lines(state.progress, state.configuration)

    def _print_states(self, _: Command) -> None:
        for node, peer in self.peers.items():
            status = peer.node.status()
            voter = "(Voter)" if peer.state.is_voter else "(Non-Voter)"
            self._print(
                f"{node}: {ROLES[status.role]} {voter} Term:{status.term} Lead:{status.leader or 0}"
            )

    def _report_unreachable(self, command: Command) -> None:
        self._peer(command).tell(Unreachable(int(command.words[1])))

    def _send_snapshot(self, command: Command) -> None:
        peer = self._peer(command)
        message = InstallSnapshot(
            source=peer.id,
            target=int(command.words[1]),
            term=peer.state.term,
            snapshot=peer.state.log.snapshot,
        )
        self.messages.append(message)
        self._print(self._words(message))

    def _set_timeout(self, command: Command) -> None:
        peer = self._peer(command)
        peer.state.election_due = peer.now + command.number("timeout") * TICK

    def _transfer(self, command: Command) -> None:
        peer = self.peers[command.number("from")]
        peer.tell(TransferLeadership(command.number("to")))

    # --- what they are made of ----------------------------------------------------------------

    def _peer(self, command: Command) -> Peer:
        return self.peers[int(command.words[0])]

    def _tell(self, command: Command, event: Event) -> None:
        peer = self._peer(command)
        peer.refused.clear()
        peer.tell(event)
        if peer.refused:
            self._lines.append("raft proposal dropped")

    def _process(self, peer: Peer) -> None:
        ready = peer.process()
        self._lines += ready.lines(newer=self.newer)
        self.messages += ready.messages

    def _deliver(self, target: int, kind: str | None = None) -> int:
        messages = self._take_messages(target, kind)
        for message in messages:
            self._print(self._words(message))
            self.peers[target].tell(Receive(message))
        return len(messages)

    def _take_messages(self, target: int, kind: str | None = None) -> list[Message]:
        taken = [
            message
            for message in self.messages
            if message.target == target and kind in {None, kind_of(message)}
        ]
        self.messages = [message for message in self.messages if message not in taken]
        return taken

    def _words(self, message: Message) -> str:
        return message_words(message, newer=self.newer)

    def _print(self, text: str) -> None:
        self._lines += text.split("\n")

    def _print_log(self, peer: Peer) -> None:
        log = peer.state.log
        entries = log.entries(log.first_index)
        if entries:
            self._lines += map(entry_words, entries)
        else:
            first, last = log.first_index, log.last_index
            self._lines.append(f"log is empty: first index={first}, last index={last}")

    def _indented(self, act: Callable[[], object]) -> None:
        outer, self._lines = self._lines, []
        act()
        inner: Iterable[str] = self._lines
        self._lines = [*outer, *(f"  {line}" for line in inner)]
