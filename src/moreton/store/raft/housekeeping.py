"""What a node sees to now and then: where the others are, for its next start, and where it is."""

from __future__ import annotations

import asyncio
import logging

from moreton.kernel.errors import MoretonError
from moreton.store.raft.folder import Node, NodeFolder
from moreton.store.raft.membership import is_member
from moreton.store.raft.node import ClusterNode

_LOG = logging.getLogger("moreton.store.raft")
_LOOK_SECONDS = 0.5


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
        known = status.addresses.get(who.node)
        if known is not None and known != who.address and status.raft.leader is not None:
            await _tell_new_address(node, who.address, known)


async def _tell_new_address(node: ClusterNode, address: str, known: str) -> None:
    try:
        await node.move(address)
    except MoretonError as error:
        _LOG.warning("the others look for this node at %s, not at %s: %s", known, address, error)
        await asyncio.sleep(_LOOK_SECONDS)
    else:
        _LOG.info("this node was at %s and is known at %s now", known, address)
