"""Quorums against a twin that tries everything; changes of members against what must hold."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from moreton.consensus.core.configuration import (
    ChangeKind,
    ChangeNotPossible,
    ConfigurationChange,
    NodeChange,
    Transition,
    apply_change,
    decode_change,
    encode_change,
)
from moreton.consensus.core.messages import Configuration
from moreton.consensus.core.quorum import VoteResult, committed_index, vote_result

NODES = st.integers(1, 6)
SETS = st.frozensets(NODES, max_size=6)
CHANGES = st.lists(st.builds(NodeChange, st.sampled_from(ChangeKind), NODES), max_size=4)
STEPS = st.lists(
    st.builds(ConfigurationChange, CHANGES.map(tuple), st.sampled_from(Transition)), max_size=8
)


def quorums(voters: frozenset[int]) -> list[frozenset[int]]:
    """Every majority of *voters*, found by counting."""
    least = len(voters) // 2 + 1
    return [
        frozenset(some)
        for size in range(least, len(voters) + 1)
        for some in combinations(sorted(voters), size)
    ]


def agree(configuration: Configuration, nodes: frozenset[int]) -> bool:
    """Whether *nodes* hold a majority of each half, found by looking for one."""
    return all(
        not half or any(some <= nodes for some in quorums(half))
        for half in (configuration.voters, configuration.outgoing)
    )


@given(SETS, SETS, st.dictionaries(NODES, st.integers(0, 9)))
def test_committed_index_is_the_highest_that_majorities_have(
    voters: frozenset[int], outgoing: frozenset[int], acked: dict[int, int]
) -> None:
    configuration = Configuration(voters, outgoing)
    found = committed_index(configuration, acked)
    if not voters | outgoing:
        assert found is None
        return
    having = {
        index: frozenset(node for node in range(1, 7) if acked.get(node, 0) >= index)
        for index in range(10)
    }
    assert found == max(index for index in having if agree(configuration, having[index]))


@given(SETS, SETS, st.dictionaries(NODES, st.booleans()))
def test_vote_is_decided_as_soon_as_no_other_could_turn_it(
    voters: frozenset[int], outgoing: frozenset[int], votes: dict[int, bool]
) -> None:
    configuration = Configuration(voters, outgoing)
    missing = sorted((voters | outgoing) - votes.keys())
    outcomes = set()
    for rest in product((True, False), repeat=len(missing)):
        full = votes | dict(zip(missing, rest, strict=True))
        outcomes.add(agree(configuration, frozenset(node for node in full if full[node])))
    expected = VoteResult.PENDING
    if len(outcomes) == 1:
        expected = VoteResult.WON if outcomes.pop() else VoteResult.LOST
    assert vote_result(configuration, votes) is expected


@given(st.frozensets(NODES, min_size=1), STEPS)
def test_majorities_before_and_after_any_change_meet(
    founders: frozenset[int], steps: list[ConfigurationChange]
) -> None:
    configuration = Configuration(founders)
    for step in steps:
        try:
            after = apply_change(configuration, step)
        except ChangeNotPossible:
            continue
        everyone = configuration.voters | configuration.outgoing | after.voters | after.outgoing
        sides = [
            [some for some in quorums(everyone) + subsets(everyone) if agree(one, some)]
            for one in (configuration, after)
        ]
        assert all(left & right for left in sides[0] for right in sides[1])
        configuration = after


def subsets(nodes: frozenset[int]) -> list[frozenset[int]]:
    """Those that are no majority of all."""
    return [
        frozenset(some)
        for size in range(1, len(nodes) // 2 + 1)
        for some in combinations(sorted(nodes), size)
    ]


@given(st.frozensets(NODES, min_size=1), STEPS)
def test_any_change_leaves_a_configuration_that_makes_sense(
    founders: frozenset[int], steps: list[ConfigurationChange]
) -> None:
    configuration = Configuration(founders)
    for step in steps:
        try:
            configuration = apply_change(configuration, step)
        except ChangeNotPossible:
            continue
        assert configuration.voters
        assert not configuration.learners & (configuration.voters | configuration.outgoing)
        assert configuration.learners_next <= configuration.outgoing - configuration.voters
        if not configuration.is_joint:
            assert not configuration.learners_next
            assert not configuration.auto_leave


@given(CHANGES.map(tuple), st.sampled_from(Transition), st.binary())
def test_change_is_read_as_it_was_written(
    changes: tuple[NodeChange, ...], transition: Transition, context: bytes
) -> None:
    change = ConfigurationChange(changes, transition, context)
    assert decode_change(encode_change(change)) == change


@given(st.binary())
def test_bytes_that_are_no_change_are_refused_in_one_way(data: bytes) -> None:
    try:
        change = decode_change(data)
    except ValueError:
        return
    assert decode_change(encode_change(change)) == change
