"""What a node concludes from what its disk kept."""

from __future__ import annotations

from dataclasses import replace

from moreton.consensus.core.configuration import (
    ChangeKind,
    ConfigurationChange,
    NodeChange,
    encode_change,
)
from moreton.consensus.core.messages import Configuration, Entry, EntryKind
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Recovered
from moreton.kernel.rng import seeded_rng

FOUNDED = Recovered.first(Configuration(frozenset({1, 2, 3})))


def adds(node: int, index: int) -> Entry:
    change = ConfigurationChange((NodeChange(ChangeKind.ADD_VOTER, node),))
    return Entry(1, index, EntryKind.CONFIGURATION, encode_change(change))


def recovered_with(*entries: Entry) -> RaftNode:
    return RaftNode(1, replace(FOUNDED, entries=entries), rng=seeded_rng(1))


def test_only_the_last_change_of_members_may_be_uncommitted() -> None:
    """The crash tore off the commit index that was written after the second change.

    By the configuration before both, two of {1, 2, 3} could elect and commit without the majority
    of {1, 2, 3, 4, 5} that others may count by.
    """
    node = recovered_with(Entry(1, 2), adds(4, 3), Entry(1, 4), adds(5, 5))
    assert node.state.log.committed == 3
    assert node.status().configuration.voters == {1, 2, 3, 4}


def test_one_change_of_members_proves_nothing() -> None:
    node = recovered_with(Entry(1, 2), adds(4, 3), Entry(1, 4))
    assert node.state.log.committed == 1
    assert node.status().configuration.voters == {1, 2, 3}
