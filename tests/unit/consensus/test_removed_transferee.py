"""A node that is to take over, and is removed before it can."""

from __future__ import annotations

from moreton.consensus.core.configuration import ChangeKind, ConfigurationChange, NodeChange
from moreton.consensus.core.events import ProposeChange, TransferLeadership
from moreton.consensus.core.state import Role
from unit.consensus.raft_cluster import Cluster


def test_answer_that_commits_the_removal_of_its_sender_hands_nothing_over() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.cuts |= {(2, 1), (1, 2)}
    removal = ConfigurationChange((NodeChange(ChangeKind.REMOVE, 3),))
    cluster.tell(1, ProposeChange(removal), TransferLeadership(3))
    cluster.deliver()  # the answer of 3 makes the majority
    assert cluster.state(1).configuration.voters == {1, 2}
    assert cluster.state(1).transferee is None
    assert cluster.role(1) is Role.LEADER
