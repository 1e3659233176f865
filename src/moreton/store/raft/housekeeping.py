"""What a node sees to now and then: where the others are, for its next start, and where it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from moreton.consensus.core.messages import NodeId
from moreton.kernel.errors import MoretonError
from moreton.store.raft.folder import Node, NodeFolder
from moreton.store.raft.membership import is_member
from moreton.store.raft.node import ClusterNode
from moreton.store.raft.operating.guests import Guest
from moreton.store.raft.operating.making import peer_tls

_LOG = logging.getLogger("moreton.store.raft")
_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 5.0


async def keep_house(node: ClusterNode, folder: NodeFolder, who: Node) -> None:
    """For as long as *node* runs: remember the members' addresses, and tell them of its own."""
    await node.wait_started()
    remembered = dict(who.peers)
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        status = node.status()
        found = dict(status.addresses)
        if is_member(status) and found and found != remembered:
            await asyncio.to_thread(folder.remember_peers, found)
            remembered = found
        if is_member(status) and found.get(who.node, who.address) != who.address:
            await _move(folder, who, found)


async def _move(folder: NodeFolder, who: Node, found: Mapping[NodeId, str]) -> None:
    """Tell a member that this node is elsewhere now.

    From outside, as it were: those who look for it at the old address cannot tell it who leads.
    """
    secret, tls = folder.secret(), None if who.tls is None else peer_tls(who.tls)
    for other, address in found.items():
        if other == who.node and len(found) > 1:
            continue
        at = who.address if other == who.node else address
        try:
            await Guest(at, secret, tls=tls).ask("move", node=who.node, address=who.address)
        except MoretonError as error:
            _LOG.warning("node %d was not told that this one is at %s: %s", other, at, error)
        else:
            _LOG.info("this node was at %s and is at %s now", found[who.node], who.address)
            return
    await asyncio.sleep(_RETRY_SECONDS)
