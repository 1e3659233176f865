"""From a node's folder to the node that runs."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from moreton.consensus.core.messages import NodeId
from moreton.consensus.core.state import Settings
from moreton.consensus.disk import LogDisk
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host import HostSettings
from moreton.consensus.transport import Credentials, TcpTransport, TransportSettings
from moreton.kernel.time import Clock, SystemClock
from moreton.store.raft.core.address import TIMEOUT, parse_address
from moreton.store.raft.folder import Node, NodeFolder
from moreton.store.raft.housekeeping import keep_house
from moreton.store.raft.node import ClusterNode
from moreton.store.raft.operating.administration import Administration
from moreton.store.raft.operating.making import peer_tls
from moreton.store.raft.store import RaftStore

_LOG = logging.getLogger("moreton.store.raft")


def open_raft_store(url: str, *, clock: Clock | None = None) -> RaftStore:
    """The store of the node at *url*, `raft:///folder`, which starts by itself and runs with it.

    Call it inside a running event loop. Raises `BadRaftUrl` and the errors of the folder; what
    only shows when the node starts, such as a port that is taken, comes with the first operation.
    """
    address = parse_address(url)
    node = open_node(Path(address.folder), clock=clock, timeout=address.timeout)
    return RaftStore(node, reads=address.reads)


def open_node(
    path: Path,
    *,
    clock: Clock | None = None,
    timeout: timedelta = TIMEOUT,
    settings: Settings | None = None,
    bounds: HostSettings | None = None,
    wires: TransportSettings | None = None,
) -> ClusterNode:
    """The node of the folder at *path*, which starts by itself; `close` it at the end.

    Raises `NotANodeFolder`, `NodeFolderDamaged`, `NodeFolderUnusable`, `SecretExposed`, and the
    `CredentialsUnusable` of consensus.
    """
    folder = NodeFolder(path)
    who, clock = folder.node(), clock or SystemClock()
    administration = Administration(who, clock=clock)
    transport = TcpTransport(
        who.node,
        credentials_of(who, folder.secret()),
        who.listen,
        advertise=who.address,
        settings=wires,
        clock=clock,
        report=_report,
        guests=administration.answer,
    )
    node = ClusterNode(
        who.node,
        disk=LogDisk(folder.log, cluster=who.cluster, node=who.node),
        transport=transport,
        addresses={**who.peers, who.node: who.address},
        clock=clock,
        timeout=timeout,
        reached=lambda: transport.statistics().connected,
        troubles=transport.troubles,
        settings=settings,
        bounds=bounds,
    )
    administration.serve(node, transport)
    node.beside(keep_house(node, folder, who))
    return node


def credentials_of(who: Node, secret: bytes) -> Credentials:
    """What proves that *who* belongs to its cluster. Raises `CredentialsUnusable`."""
    return Credentials(who.cluster, secret, None if who.tls is None else peer_tls(who.tls))


def _report(node: NodeId, trouble: ConsensusError) -> None:
    _LOG.warning("trouble with node %d: %s", node, trouble)
