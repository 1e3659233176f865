"""What a node answers to operators, and to nodes that want to join: whoever knows the secret."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport import TcpTransport
from moreton.consensus.transport.errors import PeerUnreachable
from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Clock, Instant
from moreton.store.raft.core.questions import pack_answer, pack_error, read_question
from moreton.store.raft.core.snapshot import freeze
from moreton.store.raft.errors import SnapshotExpired
from moreton.store.raft.folder import Node
from moreton.store.raft.node import ClusterNode
from moreton.store.raft.operating.backup import describe

# A part of a snapshot's file, as it is asked for.
PART_BYTES = 4 * 1024 * 1024
# A snapshot that nobody asks for any more is dropped.
_HELD = timedelta(minutes=1)


class Administration:
    """The node *who*, as operators see it."""

    def __init__(self, who: Node, *, clock: Clock) -> None:
        self._who = who
        self._clock = clock
        self._node: ClusterNode | None = None
        self._transport: TcpTransport | None = None
        # One at a time: it may be large.
        self._held: tuple[str, bytes, Instant] | None = None

    def serve(self, node: ClusterNode, transport: TcpTransport) -> None:
        """Answer for *node* from now on."""
        self._node, self._transport = node, transport

    async def answer(self, question: bytes) -> bytes:
        """The answer to a guest's *question*; what is refused is an answer too."""
        assert self._node is not None, "it serves before it listens"
        do, values = read_question(question)
        try:
            if do == "part":
                return self._part(values)
            return pack_answer(await self._do(self._node, do, values))
        except MoretonError as error:
            return pack_error(error)

    async def _do(self, node: ClusterNode, do: str, values: Mapping[str, Any]) -> dict[str, Any]:
        match do:
            case "status":
                return self._status(node)
            case "admit":
                admitted = await node.admit(values["address"])
                return {"cluster": self._who.cluster, **asdict(admitted)}
            case "dismiss":
                await node.dismiss(values["node"], at_any_risk=values["at_any_risk"])
                return {}
            case "move":
                await node.move(values["node"], values["address"])
                return {}
            case "transfer":
                await node.transfer(values["node"])
                return {}
            case "snapshot":
                return await self._hold_snapshot(node)
            case _:
                message = f"a question to {do!r} is not known to this version"
                raise ValueError(message)

    def _status(self, node: ClusterNode) -> dict[str, Any]:
        assert self._transport is not None, "it serves before it listens"
        status, state = node.status(), node.machine.state
        raft, configuration = status.raft, status.raft.configuration
        return {
            "cluster": self._who.cluster,
            "node": self._who.node,
            "address": self._who.address,
            "role": raft.role.value,
            "term": raft.term,
            "leader": raft.leader,
            "last_index": raft.last_index,
            "committed": raft.committed,
            "applied": raft.applied,
            "snapshot_index": status.snapshot_index,
            "disk_bytes": status.disk_bytes,
            "revision": state.revision,
            "keys": len(state.keyspace),
            "leases": len(state.leases),
            "voters": sorted(configuration.voters | configuration.outgoing),
            "learners": sorted(configuration.learners | configuration.learners_next),
            "addresses": {str(other): at for other, at in status.addresses.items()},
            "connected": list(self._transport.statistics().connected),
            "troubles": _shown(self._transport.troubles(), status.addresses),
            "error": status.error,
            "wall": self._clock.wall().isoformat(),
        }

    async def _hold_snapshot(self, node: ClusterNode) -> dict[str, Any]:
        await node.barrier()
        frozen = freeze(node.machine.replica)
        data = await asyncio.to_thread(frozen.encode)
        taken_at = self._clock.wall().isoformat(timespec="seconds")
        backup = await asyncio.to_thread(
            describe,
            frozen,
            data,
            cluster=self._who.cluster,
            node=self._who.node,
            taken_at=taken_at,
        )
        token = secrets.token_hex(8)
        self._held = (token, data, self._clock.now())
        asyncio.get_running_loop().call_later(_HELD.total_seconds(), self._drop_old)
        return {"token": token, "backup": asdict(backup)}

    def _part(self, values: Mapping[str, Any]) -> bytes:
        """Part *number* of the snapshot that is held: its bytes, as they are."""
        if self._held is None or self._held[0] != values["token"]:
            raise SnapshotExpired(node=self._who.node)
        token, data, _ = self._held
        self._held = (token, data, self._clock.now())
        start = values["number"] * PART_BYTES
        return b"+" + data[start : start + PART_BYTES]

    def _drop_old(self) -> None:
        if self._held is None:
            return
        left = self._held[2] + _HELD - self._clock.now()
        if left <= timedelta(0):
            self._held = None
        else:
            asyncio.get_running_loop().call_later(left.total_seconds(), self._drop_old)


def _shown(
    troubles: Mapping[NodeId, Sequence[ConsensusError]], members: Container[NodeId]
) -> dict[str, list[dict[str, str]]]:
    """What stands in the way of talking to members, and what strangers try."""
    return {
        str(node): shown
        for node, found in troubles.items()
        if (
            shown := [
                {"code": one.code, "says": str(one)}
                for one in found
                # One that has left is not to be reached.
                if node in members or not isinstance(one, PeerUnreachable)
            ]
        )
    }
