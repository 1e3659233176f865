"""One node as a machine: what goes in decides what comes out."""

from __future__ import annotations

from moreton.consensus.core.events import Effect, ReadRequest, TransferLeadership
from moreton.consensus.core.node import RaftNode
from moreton.kernel.rng import seeded_rng
from unit.consensus.raft_cluster import ELECTION, START, Cluster, changing


def busy() -> Cluster:
    """A cluster to which a good deal has happened."""
    cluster = Cluster()
    cluster.advance(2 * ELECTION)
    (leader,) = cluster.leaders()
    cluster.propose(leader, "a", "b")
    cluster.isolate(1 + leader % 3)
    cluster.propose(leader, "c")
    cluster.start(4)
    cluster.do(leader, changing("l4"), ReadRequest(b"r"))
    cluster.heal()
    cluster.advance(ELECTION)
    cluster.do(leader, TransferLeadership(1 + leader % 3))
    cluster.advance(ELECTION)
    return cluster


def test_same_events_at_the_same_times_have_the_same_effects() -> None:
    cluster = busy()
    for node in (1, 2, 3):
        twin = RaftNode(
            node,
            Cluster().disks[node].recovered,
            rng=seeded_rng(f"{node} {START.nanos}"),
            settings=cluster.settings,
        )
        effects: list[Effect] = []
        for now, events in cluster.told[node]:
            effects += twin.handle_all(events, now) if events else twin.wake(now)
        assert len(effects) > 20
        assert effects == cluster.effects[node]


def test_node_that_is_woken_early_does_nothing() -> None:
    cluster = busy()
    for node in (1, 2, 3, 4):
        assert cluster.nodes[node].wake(cluster.now) == []
