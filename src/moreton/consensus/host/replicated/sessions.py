"""Which commands were applied already: the same on every node, and bounded.

A proposer gives its commands ascending numbers, proposes again what may be lost, and says with each
batch which is its oldest number that is not decided. So all that must be remembered of a session is
that number, and the ones above it that were applied.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from struct import Struct

from moreton.consensus.host.replicated.commands import SessionId

# Boots of nodes that are remembered; the one that was quiet longest is forgotten first.
SESSIONS_MAX = 256

_COUNT = Struct("<I")
_SESSION = Struct("<QQQI")


class Session:
    """What is known of the commands of one boot of one node."""

    __slots__ = ("applied", "oldest")

    def __init__(self, oldest: int = 0) -> None:
        self.oldest = oldest
        self.applied: set[int] = set()

    def admit(self, number: int) -> bool:
        """Whether command *number* is to be applied now: not if it was, or was given up."""
        if number < self.oldest or number in self.applied:
            return False
        self.applied.add(number)
        return True

    def forget_before(self, oldest: int) -> None:
        """Numbers below *oldest* are decided: none of them is to be applied any more."""
        if oldest <= self.oldest:
            return
        if oldest - self.oldest <= len(self.applied):
            for number in range(self.oldest, oldest):
                self.applied.discard(number)
        else:
            self.applied = {number for number in self.applied if number >= oldest}
        self.oldest = oldest


class Sessions:
    """The sessions that are remembered, the quietest first."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[SessionId, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, session: SessionId, oldest: int) -> Session:
        """The session a batch belongs to, whose numbers below *oldest* are decided."""
        found = self._sessions.get(session)
        if found is None:
            found = self._sessions[session] = Session(oldest)
            if len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(session)
            found.forget_before(oldest)
        return found

    def applied(self, session: SessionId) -> frozenset[int]:
        """The numbers of *session* that were applied, and are not decided yet."""
        found = self._sessions.get(session)
        return frozenset(found.applied) if found is not None else frozenset()

    def encode(self) -> bytes:
        """For a snapshot: the order counts."""
        parts = [_COUNT.pack(len(self._sessions))]
        for (node, nonce), session in self._sessions.items():
            numbers = sorted(session.applied)
            parts.append(_SESSION.pack(node, nonce, session.oldest, len(numbers)))
            parts.append(Struct(f"<{len(numbers)}Q").pack(*numbers))
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes, offset: int = 0) -> tuple[Sessions, int]:
        """What `encode` made, and where it ends. Raises `ValueError`."""
        sessions = cls()
        try:
            (count,) = _COUNT.unpack_from(data, offset)
            offset += _COUNT.size
            for _ in range(count):
                node, nonce, oldest, applied = _SESSION.unpack_from(data, offset)
                offset += _SESSION.size
                if offset + 8 * applied > len(data):
                    raise ValueError(f"{applied} numbers reach beyond the end at {len(data)}")
                session = sessions._sessions[node, nonce] = Session(oldest)
                session.applied.update(Struct(f"<{applied}Q").unpack_from(data, offset))
                offset += 8 * applied
        except struct.error as error:
            raise ValueError(f"sessions do not fit before the end at {len(data)}") from error
        return sessions, offset
