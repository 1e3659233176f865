"""How people run a cluster: making nodes, asking them, saving and restoring what they keep."""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.store.raft.operating.backup import Backup
    from moreton.store.raft.operating.making import join_cluster, make_first, restore_first
    from moreton.store.raft.operating.operator import Operator, Sight, Survey
else:  # the help of commands needs no consensus
    __getattr__ = on_demand(
        __name__,
        {
            "backup": ["Backup"],
            "making": ["join_cluster", "make_first", "restore_first"],
            "operator": ["Operator", "Sight", "Survey"],
        },
    )

__all__ = [
    "Backup",
    "Operator",
    "Sight",
    "Survey",
    "join_cluster",
    "make_first",
    "restore_first",
]
