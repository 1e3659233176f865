"""The other side of a fencing token: whoever is written to refuses those who came before."""

from __future__ import annotations

from moreton.election.core.errors import FencedOff


class Fence:
    """Lets through tokens that are no smaller than any before: one for each thing protected.

    Where the thing is kept elsewhere, keep the token with it, in the same write: `UPDATE job SET
    state = :state, token = :token WHERE token <= :token`. A `Fence` that is made anew with *token*
    0 has forgotten whom it saw.

    Source: Kleppmann, "How to do distributed locking", 2016.
    """

    def __init__(self, name: str, token: int = 0) -> None:
        self.name = name
        self.token = token

    def admit(self, token: int) -> None:
        """Return if *token* is the newest so far. Raises `FencedOff` for an older one."""
        if token < self.token:
            raise FencedOff(what=f'"{self.name}"', token=token, current=self.token)
        self.token = token
