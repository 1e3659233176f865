"""Changes of who belongs to the cluster: one at a time, or any number through a joint step.

Every function here is total over valid configurations: it returns the next one, or raises
`ChangeNotPossible`. The semantics are etcd's, so that its own tests hold.

Source: Ongaro 2014, chapter 4; the files of etcd's `raft/confchange/testdata`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from moreton.consensus.core.messages import Configuration, NodeId
from moreton.kernel.errors import MoretonError


class ChangeNotPossible(MoretonError):
    """A change of the configuration that does not fit the present one."""

    code = "raft-change-not-possible"


class ChangeKind(StrEnum):
    """What becomes of a node; the letters are those of `encode_change`."""

    ADD_VOTER = "v"  # or promote a learner
    ADD_LEARNER = "l"  # or demote a voter
    REMOVE = "r"
    UPDATE = "u"  # nothing here: the context tells the hosts what is new


@dataclass(frozen=True, slots=True)
class NodeChange:
    """What becomes of one node; nothing if that is 0."""

    kind: ChangeKind
    node: NodeId

    def __post_init__(self) -> None:
        if self.node < 0:
            raise ValueError(f"{self.node} names no node: it cannot be changed; give 1 or more")


class Transition(StrEnum):
    """How to get from one configuration to the next."""

    AUTO = "auto"  # joint only if several nodes change; a joint one is left on its own accord
    IMPLICIT = "implicit"  # joint, and left on its own accord
    EXPLICIT = "explicit"  # joint, and left by a change without nodes


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """What a configuration entry holds; no *changes* means to leave the joint configuration.

    *context* is for the hosts: the address of a new node, say.
    """

    changes: tuple[NodeChange, ...] = ()
    transition: Transition = Transition.AUTO
    context: bytes = b""


def encode_change(change: ConfigurationChange) -> bytes:
    """A line such as `auto v4 r1`, then the context."""
    words = [change.transition.value, *(f"{one.kind.value}{one.node}" for one in change.changes)]
    return " ".join(words).encode() + b"\n" + change.context


def decode_change(data: bytes) -> ConfigurationChange:
    """What `encode_change` made *data* of; raises `ValueError` if it did not."""
    line, _, context = data.partition(b"\n")
    transition, *words = line.decode().split(" ")
    changes = tuple(NodeChange(ChangeKind(word[:1]), int(word[1:])) for word in words)
    return ConfigurationChange(changes, Transition(transition), context)


def apply_change(configuration: Configuration, change: ConfigurationChange) -> Configuration:
    """The configuration after *change*."""
    if not change.changes and change.transition is Transition.AUTO:
        return leave_joint(configuration)
    if change.transition is Transition.AUTO and len(change.changes) == 1:
        return simple(configuration, change.changes)
    auto_leave = change.transition is not Transition.EXPLICIT
    return enter_joint(configuration, change.changes, auto_leave=auto_leave)


def simple(configuration: Configuration, changes: Iterable[NodeChange]) -> Configuration:
    """The configuration after *changes* that alter the set of voters by one at most.

    Source: Ongaro 2014, section 4.1: majorities of both then overlap.
    """
    if configuration.is_joint:
        raise ChangeNotPossible("can't apply simple config change in joint config")
    after = _changed(configuration, changes)
    if len(configuration.voters ^ after.voters) > 1:
        raise ChangeNotPossible("more than one voter changed without entering joint config")
    return after


def enter_joint(
    configuration: Configuration, changes: Iterable[NodeChange], *, auto_leave: bool = False
) -> Configuration:
    """The joint configuration in which the voters before *changes* must agree as well."""
    if configuration.is_joint:
        raise ChangeNotPossible("config is already joint")
    if not configuration.voters:
        raise ChangeNotPossible("can't make a zero-voter config joint")
    joint = replace(configuration, outgoing=configuration.voters)
    return replace(_changed(joint, changes), auto_leave=auto_leave)


def leave_joint(configuration: Configuration) -> Configuration:
    """The configuration whose voters alone decide; staged learners become learners."""
    if not configuration.is_joint:
        raise ChangeNotPossible("can't leave a non-joint config")
    return Configuration(
        voters=configuration.voters,
        learners=configuration.learners | configuration.learners_next,
    )


def _changed(configuration: Configuration, changes: Iterable[NodeChange]) -> Configuration:
    for change in changes:
        configuration = _changed_by_one(configuration, change)
    if not configuration.voters:
        raise ChangeNotPossible("removed all voters")
    return configuration


def _changed_by_one(before: Configuration, change: NodeChange) -> Configuration:
    node = frozenset({change.node})
    # No node is 0: etcd's way to write that a change was thought better of.
    if change.kind is ChangeKind.UPDATE or change.node == 0:
        return before
    if change.kind is ChangeKind.ADD_LEARNER and node <= before.learners:
        return before
    without = replace(
        before,
        voters=before.voters - node,
        learners=before.learners - node,
        learners_next=before.learners_next - node,
    )
    if change.kind is ChangeKind.ADD_VOTER:
        return replace(without, voters=without.voters | node)
    if change.kind is ChangeKind.REMOVE:
        return without
    # A voter of the outgoing half cannot be a learner at the same time: it waits its turn.
    if node <= before.outgoing:
        return replace(without, learners_next=without.learners_next | node)
    return replace(without, learners=without.learners | node)
