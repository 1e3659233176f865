"""The store as a cluster of three or five nodes: no other server, and no single machine to lose.

Use it when the control plane runs on several machines; for one the SQLite store is enough. A
folder is made into a node by `moreton cluster init` or `join`, and opened by its URL:

    store = open_store("raft:///var/lib/moreton/node")

Guarantees: those of `moreton.store`, by consensus: what was acknowledged outlives any minority of
the nodes, and every read sees it, at whichever node. A write is carried out once, whoever leads
meanwhile. Leases are timed by the leader; when another one begins, each has its whole time anew.
Without a majority nothing is written, and read only with `?reads=local`: maybe old.
"""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.store.raft.core.address import RaftAddress, Reads, parse_address
    from moreton.store.raft.opening import open_node, open_raft_store
    from moreton.store.raft.store import RaftStore
else:  # a command looks at a folder and loads no consensus
    __getattr__ = on_demand(
        __name__,
        {
            "core.address": ["RaftAddress", "Reads", "parse_address"],
            "opening": ["open_node", "open_raft_store"],
            "store": ["RaftStore"],
        },
    )

__all__ = ["RaftAddress", "RaftStore", "Reads", "open_node", "open_raft_store", "parse_address"]
