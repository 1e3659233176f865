"""What hosts ask each other beside Raft's messages, and the answers, as bytes.

A question is one letter and its content; an answer is one letter too: `+` with the answer, `-` for
not leading, or the letter of an error with its text.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host.errors import (
    AnswerFailed,
    ChangeRefused,
    NodeFailed,
    NoLeader,
    OutcomeUnknown,
    TransferFailed,
)


class Asked(bytes, Enum):
    """What a question is about."""

    ANSWER = b"a"  # for the `answer` that the host was given
    CHANGE = b"c"  # `encode_change`
    TRANSFER = b"t"  # a node id, in decimal digits


DONE = b"+"
NOT_LEADER = b"-"


def encode_error(error: Exception) -> bytes:
    """The answer that makes the asker raise *error*, or one that says the same."""
    match error:
        case ChangeRefused():
            return b"r" + error.detail.encode()
        case TransferFailed():
            return b"f" + error.detail.encode()
        case OutcomeUnknown() | NodeFailed():
            return b"u"
        case NoLeader():
            return NOT_LEADER
        case ConsensusError():
            return b"e" + str(error).encode()
        case _:
            return b"e" + f"{type(error).__name__}: {error}".encode()


def decode_error(answer: bytes, *, asker: NodeId, about: NodeId, waited: timedelta) -> Exception:
    """The error that *answer* is, for the node *asker*."""
    text = answer[1:].decode(errors="replace")
    match answer[:1]:
        case b"r":
            return ChangeRefused(detail=text)
        case b"f":
            return TransferFailed(transferee=about, detail=text)
        case b"u":
            return OutcomeUnknown(node=asker, what="a question", waited=waited)
        case _:
            return AnswerFailed(reason=text)
