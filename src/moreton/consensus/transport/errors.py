"""What can go wrong between two nodes of one cluster."""

from __future__ import annotations

from typing import ClassVar

from moreton.consensus.errors import ConsensusError
from moreton.kernel.errors import RetryAdvice


class PeerUnreachable(ConsensusError):
    """No connection to the node: nothing was sent to it."""

    code = "raft-peer-unreachable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, target: int, address: str, reason: str) -> None:
        self.target = target
        self.reason = reason
        super().__init__(
            f"node {target} cannot be reached at {address or 'an unknown address'}: {reason}; "
            "nothing was sent; see that it runs and that its address is right"
        )


class AnswerLost(ConsensusError):
    """A question was sent and not answered: what it asked for may have happened or not."""

    code = "raft-answer-lost"
    retry = RetryAdvice.AFTER

    def __init__(self, *, target: int, reason: str) -> None:
        self.target = target
        super().__init__(
            f"node {target} did not answer: {reason}; what it was asked for may have happened; "
            "look before asking again"
        )


class QuestionRefused(ConsensusError):
    """Too many questions wait already: this one was not taken."""

    code = "raft-question-refused"
    retry = RetryAdvice.AFTER

    def __init__(self, *, target: int, waiting: int) -> None:
        self.target = target
        super().__init__(
            f"{waiting} questions to node {target} wait already: this one was not taken; "
            "ask fewer at a time"
        )


class QuestionFailed(ConsensusError):
    """The node that was asked broke over the question."""

    code = "raft-question-failed"
    retry = RetryAdvice.AFTER

    def __init__(self, *, target: int, reason: str) -> None:
        self.target = target
        super().__init__(
            f"node {target} failed to answer: {reason}; what it was asked for may have happened; "
            "its log tells more"
        )


class WrongSecret(ConsensusError):
    """The node does not know our cluster's secret, or uses none."""

    code = "raft-wrong-secret"

    def __init__(self, *, target: int, address: str) -> None:
        self.target = target
        super().__init__(
            f"node {target} at {address} has another cluster secret: neither listens to the "
            "other; give every node the same secret"
        )


class OtherCluster(ConsensusError):
    """The node belongs to another cluster."""

    code = "raft-other-cluster"

    def __init__(self, *, target: int, address: str, detail: str) -> None:
        self.target = target
        super().__init__(
            f"node {target} at {address} does not belong to this cluster ({detail}): neither "
            "listens to the other; correct the address, or the data folder of one of them"
        )


class OtherVersion(ConsensusError):
    """The node speaks another version of the protocol, or something else altogether."""

    code = "raft-other-version"

    def __init__(self, *, target: int, address: str, detail: str) -> None:
        self.target = target
        super().__init__(
            f"node {target} at {address} does not speak our protocol ({detail}): it is not "
            "listened to; run versions of Moreton that fit each other"
        )


class NodeClaimedTwice(ConsensusError):
    """Two living processes say that they are the same node."""

    code = "raft-node-claimed-twice"

    def __init__(self, *, node: int, address: str, detail: str) -> None:
        self.node = node
        super().__init__(
            f"two processes claim to be node {node} ({detail}, seen at {address}): the later one "
            "is not listened to; stop it, or start it as a node of its own"
        )


class AddressOfAnother(ConsensusError):
    """Somebody else answers at the node's address."""

    code = "raft-address-of-another"

    def __init__(self, *, target: int, address: str, found: str) -> None:
        self.target = target
        super().__init__(
            f"{address} is said to be node {target}, but {found} answers there: nothing was "
            "sent; correct the address"
        )


class NodeRemoved(ConsensusError):
    """The others have removed this node from the cluster."""

    code = "raft-node-removed"

    def __init__(self, *, target: int) -> None:
        self.target = target
        super().__init__(
            f"node {target} says that this node was removed from the cluster: it is not listened "
            "to; join again under a new node id, with an empty data folder"
        )


class ClockApart(ConsensusError):
    """The clocks of two nodes differ by minutes."""

    code = "raft-clock-apart"
    retry = RetryAdvice.AFTER

    def __init__(self, *, target: int, seconds: float) -> None:
        self.target = target
        self.seconds = seconds
        way = "ahead of" if seconds > 0 else "behind"
        super().__init__(
            f"the clock of node {target} is {abs(seconds):.0f} s {way} ours: agreement does not "
            "need it, but certificates and whatever people read of times do; set the clocks"
        )


class BadFrame(ConsensusError):
    """Bytes that no node of this version sends."""

    code = "raft-bad-frame"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: the connection is given up; see who sends this")


class TlsRefused(ConsensusError):
    """A certificate was not accepted, by us or by the node."""

    code = "raft-tls-refused"

    def __init__(self, *, target: int, address: str, reason: str) -> None:
        self.target = target
        super().__init__(
            f"no TLS with node {target} at {address}: {reason}; nothing was sent; see that both "
            "certificates are of the cluster's authority and valid, by both clocks"
        )


class CredentialsUnusable(ConsensusError):
    """A secret or a certificate of our own with which nothing can be proved."""

    code = "raft-credentials-unusable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class CannotListen(ConsensusError):
    """The address for the other nodes cannot be had."""

    code = "raft-cannot-listen"
    retry: ClassVar[RetryAdvice] = RetryAdvice.AFTER

    def __init__(self, *, address: str, reason: str) -> None:
        super().__init__(
            f"cannot listen at {address}: {reason}; no other node could reach this one; free the "
            "address, or listen at another"
        )


class TooLargeToSend(ConsensusError):
    """More bytes than a node takes at once."""

    code = "raft-too-large-to-send"

    def __init__(self, *, target: int, what: str, size: int, limit: int) -> None:
        self.target = target
        super().__init__(
            f"{what} of {size} bytes is larger than the {limit} that nodes take: it was not sent "
            f"to node {target}; make it smaller, or raise the limit on every node"
        )
