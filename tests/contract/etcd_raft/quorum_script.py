"""Speaks the language of etcd's `raft/quorum/testdata` for our quorum functions."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.core.quorum import (
    VoteResult,
    committed_index,
    majority_index,
    majority_vote,
    vote_result,
)
from moreton.sim.script import Command

# Without voters everything is committed: etcd says so with its largest number.
_INFINITE = "\u221e"
_VOTES = {"y": True, "n": False}
_RESULTS = {
    VoteResult.WON: "VoteWon",
    VoteResult.LOST: "VoteLost",
    VoteResult.PENDING: "VotePending",
}


def run_quorum(command: Command, *, newer: bool = False) -> str:
    """What etcd's harness prints for *command*, with its cross-checks as assertions.

    *newer* versions draw equal bars for equal voters.
    """
    voters, outgoing = _nodes(command, "cfg"), _nodes(command, "cfgj")
    both = list(dict.fromkeys([*voters, *outgoing]))
    given = command.items("votes" if command.name == "vote" else "idx")
    assert len(given) == len(both), f"line {command.line}: one word for each of {both}"
    known = {node: word for node, word in zip(both, given, strict=True) if word != "_"}
    joint = Configuration(frozenset(voters), frozenset(outgoing))
    if command.name == "vote":
        return _vote(joint, {node: _VOTES[word] for node, word in known.items()})
    acked = {node: int(word) for node, word in known.items()}
    index = _committed(joint, acked)
    table = _table(joint.voters | joint.outgoing, acked, newer=newer)
    return table + (_INFINITE if index is None else str(index))


def _nodes(command: Command, key: str) -> list[NodeId]:
    return [int(word) for word in command.items(key) if word != "zero"]


def _swapped(joint: Configuration) -> Configuration:
    return Configuration(joint.outgoing, joint.voters)


def _vote(joint: Configuration, votes: Mapping[NodeId, bool]) -> str:
    result = vote_result(joint, votes)
    assert result is vote_result(_swapped(joint), votes)
    if not joint.outgoing:
        assert result is majority_vote(joint.voters, votes)
    return _RESULTS[result]


def _committed(joint: Configuration, acked: Mapping[NodeId, int]) -> int | None:
    index = committed_index(joint, acked)
    assert index == committed_index(_swapped(joint), acked)
    if not joint.outgoing:
        assert index == majority_index(joint.voters, acked)
        assert index == committed_index(Configuration(joint.voters, joint.voters), acked)
        for node in joint.voters:
            if 0 < acked.get(node, 0) < (index or 0):
                # Whoever is behind already may fall back further without any difference.
                assert majority_index(joint.voters, {**acked, node: 0}) == index
    return index


def _table(voters: AbstractSet[NodeId], acked: Mapping[NodeId, int], *, newer: bool) -> str:
    """A bar for each voter, the longer the more are behind it; `?` for one unheard of."""
    if not voters:
        return "<empty majority quorum>"
    width = len(voters)
    order = sorted(voters, key=lambda node: (acked.get(node, 0), node))
    numbers = [acked.get(node, 0) for node in order]
    bars = {}
    for place, node in enumerate(order):
        if newer:
            bars[node] = numbers.index(numbers[place])
        else:  # of equals only the first has its bar
            bars[node] = place if place and numbers[place - 1] < numbers[place] else 0
    lines = [" " * width + "    idx"]
    for node in sorted(voters):
        head = "x" * bars[node] + ">" if node in acked else "?"
        lines.append(f"{head:<{width + 1}} {acked.get(node, 0):5d}    (id={node})")
    return "\n".join(lines) + "\n"
