"""What can go wrong for whoever asks a node of the cluster for something."""

from __future__ import annotations

from datetime import timedelta

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.kernel.errors import RetryAdvice


class HostClosed(ConsensusError):
    """This program closed the node, or has not started it."""

    code = "raft-host-closed"

    def __init__(self, *, node: NodeId) -> None:
        self.node = node
        super().__init__(
            f"node {node} is not running in this program: nothing is proposed or read; "
            "call start() first, and nothing after close()"
        )


class NodeFailed(ConsensusError):
    """The node stopped by itself: its disk failed, or a promise could not be kept."""

    code = "raft-node-failed"

    def __init__(self, *, node: NodeId, reason: str) -> None:
        self.node = node
        self.reason = reason
        super().__init__(
            f"node {node} stopped, {reason}: it neither leads nor votes, the others go on; "
            "mend the cause, then start it again"
        )


class NoLeader(ConsensusError):
    """Nobody led, or the leader took nothing, for the whole time. Nothing was done."""

    code = "raft-no-leader"
    retry = RetryAdvice.AFTER

    def __init__(self, *, node: NodeId, waited: timedelta, why: str) -> None:
        self.node = node
        self.waited = waited
        self.why = why
        super().__init__(
            f"node {node} found no leader that would take it within {waited.total_seconds():g}s, "
            f"{why}: nothing was done; look whether a majority of the voters runs and is reached"
        )


class OutcomeUnknown(ConsensusError):
    """No answer came in time. It may have been done, or be done later, but once at most."""

    code = "raft-outcome-unknown"
    retry = RetryAdvice.AFTER

    def __init__(self, *, node: NodeId, what: str, waited: timedelta) -> None:
        self.node = node
        self.waited = waited
        super().__init__(
            f"{what} of node {node} was not answered within {waited.total_seconds():g}s: it may "
            "have been done or be done later, at most once; read what is true before trying again"
        )


class Overloaded(ConsensusError):
    """More waits on this node than it takes in. Nothing was done."""

    code = "raft-overloaded"
    retry = RetryAdvice.AFTER

    def __init__(self, *, node: NodeId, waiting: int, what: str) -> None:
        self.node = node
        self.waiting = waiting
        super().__init__(
            f"{waiting} {what} wait on node {node} already: this one was not accepted; "
            "send fewer at once, or try again later"
        )


class CommandTooLarge(ConsensusError):
    """A command larger than the log takes."""

    code = "raft-command-too-large"

    def __init__(self, *, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"a command of {size} bytes is above the limit of {limit}: it was not proposed; "
            "split it, or keep large data elsewhere"
        )


class ChangeRefused(ConsensusError):
    """A change of the members that cannot be made. Nothing was done."""

    code = "raft-change-refused"

    def __init__(self, *, detail: str) -> None:
        self.detail = detail
        super().__init__(
            f"the members cannot be changed so, {detail}: they stay as they are; "
            "look at the present members, then ask for what fits them"
        )


class TransferFailed(ConsensusError):
    """Leadership was not handed over. The leader goes on."""

    code = "raft-transfer-failed"
    retry = RetryAdvice.AFTER

    def __init__(self, *, transferee: NodeId, detail: str) -> None:
        self.transferee = transferee
        self.detail = detail
        super().__init__(
            f"leadership was not handed to node {transferee}, {detail}: the cluster goes on as "
            "before; choose a voter that runs and keeps up"
        )


class AnswerFailed(ConsensusError):
    """The leader could not answer a question that another node asked it."""

    code = "raft-answer-failed"

    def __init__(self, *, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the leader could not answer, {reason}: the question may have had an effect there; "
            "look at the leader's log"
        )


class SnapshotRefused(ConsensusError):
    """The data of a snapshot cannot be taken over."""

    code = "raft-snapshot-refused"

    def __init__(self, *, index: int, reason: str) -> None:
        self.index = index
        self.reason = reason
        super().__init__(
            f"the snapshot at {index} cannot be restored, {reason}: this node cannot know the "
            "state after it; run the same version on all nodes, or let it join as a new one"
        )


class RejoinedUnderOldId(ConsensusError):
    """A node without a past is told what it has done: its disk was lost."""

    code = "raft-rejoined-under-old-id"

    def __init__(self, *, node: NodeId) -> None:
        self.node = node
        super().__init__(
            f"node {node} starts with an empty disk, but the cluster knows it as a member that "
            "had one: it could vote a second time in a term it has forgotten, so it stopped; "
            f"remove node {node} from the cluster and join again under a new id"
        )
