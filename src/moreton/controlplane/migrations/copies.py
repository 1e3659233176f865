"""Comparisons as a migration needs them: how many there were, and how to ask for more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from moreton.store.core.model import Op


class Counted(Protocol):
    """How many answers were compared, and how many of those differed: all only ever grow."""

    @property
    def compared(self) -> int:
        """Pairs of answers that were looked at."""
        ...

    @property
    def different(self) -> int:
        """Those of them that differ where it counts."""
        ...

    @property
    def undecided(self) -> int:
        """Those of them that differ where too little is known of noise."""
        ...


class Copies(Protocol):
    """Whoever asks the candidate for what the baseline is asked, and compares."""

    def sampling(self, route: str, share: float | None) -> list[Op]:
        """What, in a transaction, has a *share* of *route* compared; `None`: nobody asks."""
        ...

    async def counts(self, route: str) -> Counted:
        """The comparisons of *route*, of all nodes; nothing of a route that is unknown."""
        ...

    def trouble(self, route: str) -> str:
        """Why nothing of *route* is compared now; empty when it is."""
        ...


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers."""

    compared: int = 0
    different: int = 0
    undecided: int = 0


class NoCopies:
    """Nobody compares here."""

    def sampling(self, route: str, share: float | None) -> list[Op]:  # noqa: ARG002 - the port's
        """Nothing to write."""
        return []

    async def counts(self, route: str) -> Counted:  # noqa: ARG002 - as above
        """None."""
        return Counts()

    def trouble(self, route: str) -> str:
        """Always the same."""
        return f'nobody compares the answers of route "{route}"'
