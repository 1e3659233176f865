"""What the log is applied to on a node: the state machine, and what hosts must remember together.

A snapshot is version u8, highest node id u64, length u32 and addresses, the sessions, then whether
a machine follows u8 and what the machine itself wrote. The one of a new cluster has no machine:
that of a node that joins is still as it was made.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from struct import Struct

from moreton.consensus.core.configuration import ConfigurationChange, decode_change
from moreton.consensus.core.messages import Configuration, Entry, NodeId
from moreton.consensus.host.errors import SnapshotRefused
from moreton.consensus.host.replicated.commands import SessionId, decode_batch
from moreton.consensus.host.replicated.members import Members, decode_addresses, encode_addresses
from moreton.consensus.host.replicated.sessions import Sessions
from moreton.consensus.ports import StateMachine

SNAPSHOT_VERSION = 1
_HEAD = Struct("<BQI")


class Replicated:
    """The state after the entries so far; equal on all nodes that applied the same ones."""

    def __init__(self, machine: StateMachine, addresses: Mapping[NodeId, str]) -> None:
        self._machine = machine
        self.members = Members(addresses)
        self._sessions = Sessions()

    def apply(self, entry: Entry, mine: SessionId) -> list[tuple[int, object]]:
        """Do the commands of *entry* that were not done; the results of those of session *mine*.

        A command of *mine* that was done before is left out: its result was given then.
        """
        batch = decode_batch(entry.data)
        admit = self._sessions.of(batch.session, batch.oldest).admit
        index, apply = entry.index, self._machine.apply
        done = [(n, apply(index, command)) for n, command in batch.commands if admit(n)]
        return done if batch.session == mine else []

    def applied(self, session: SessionId) -> frozenset[int]:
        """The commands of *session* that were done, as far as they are remembered."""
        return self._sessions.applied(session)

    def apply_change(self, entry: Entry, present: Configuration) -> ConfigurationChange:
        """Learn who is where; of those in *present*, which is in force after *entry* or later."""
        change = decode_change(entry.data)
        self.members.note(change)
        self.members.keep(present)
        return change

    def freeze(self) -> Callable[[], bytes]:
        """Hold the state fast; the result writes it out, in another thread."""
        head = _head(self.members, self._sessions)
        machine = self._machine.freeze()
        return lambda: b"".join((head, b"\x01", machine()))

    def restore(self, index: int, data: bytes, configuration: Configuration) -> None:
        """Become what was held fast at *index*, maybe on another node."""
        try:
            self.members, self._sessions, start = _open(data)
            if data[start]:
                self._machine.restore(data[start + 1 :])
        except ValueError as error:
            raise SnapshotRefused(index=index, reason=str(error)) from error
        self.members.keep(configuration)


def first_snapshot(addresses: Mapping[NodeId, str], machine: bytes | None = None) -> bytes:
    """The data of the snapshot that a cluster begins with: its members' addresses, no commands.

    *machine* is what a state machine wrote, of another cluster that this one goes on from.
    """
    members = Members(addresses)
    head = _head(members, Sessions())
    return head + (b"\0" if machine is None else b"\x01" + machine)


def machine_part(data: bytes) -> bytes | None:
    """What the state machine wrote, of a snapshot's *data*, if it did. Raises `ValueError`."""
    _, _, start = _open(data)
    return data[start + 1 :] if data[start] else None


def _head(members: Members, sessions: Sessions) -> bytes:
    where = encode_addresses(members.addresses)
    head = _HEAD.pack(SNAPSHOT_VERSION, members.highest, len(where))
    return b"".join((head, where, sessions.encode()))


def _open(data: bytes) -> tuple[Members, Sessions, int]:
    try:
        version, highest, length = _HEAD.unpack_from(data)
    except struct.error as error:
        raise ValueError(f"{len(data)} bytes are too few") from error
    if version != SNAPSHOT_VERSION:
        raise ValueError(f"its version is {version} and this program knows {SNAPSHOT_VERSION}")
    end = _HEAD.size + length
    sessions, start = Sessions.decode(data, end)
    if start >= len(data):
        raise ValueError(f"{len(data)} bytes end before the state machine")
    return Members(decode_addresses(data[_HEAD.size : end]), highest), sessions, start
