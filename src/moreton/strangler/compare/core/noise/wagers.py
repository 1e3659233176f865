"""Bets that a candidate is the odd one: what is won says how little chance explains that it is.

Two answers that are made alike could be exchanged. So where just one of them is odd, whatever was
called odd before it was looked at, it is either with probability one half, and no bet on it wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Answers in which one was odd, on average, until chance alone makes an oddity systematic.
CHANCE_LOOKS_MIN = 1e7
# What is staked on the candidate: the first wins soonest where all speak against it, the second
# where three of four do.
_STAKES = (0.9, 0.4)
# Beyond it no more is won, so that one that was mended is soon taken for that.
_WEALTH_MAX = 4 * CHANCE_LOOKS_MIN


@dataclass(slots=True)
class Wager:
    """What was won by betting that the candidate is the odd one, begun anew at each answer.

    While it is either by chance, `is_won` comes true after `CHANCE_LOOKS_MIN` bets or more on
    average. One that always is the odd one is known after 26 bets, of nine in ten after about 45,
    of three in four after about 115, however long all was well before.

    Source: Shin, Ramdas and Rinaldo, "E-detectors", NEJSDS, 2023, pp. 229-260: the Shiryaev-Roberts
    e-detector.
    """

    wealth: list[float] = field(default_factory=lambda: [0.0 for _ in _STAKES])

    def add(self, *, candidate: bool) -> None:
        """One answer more in which one was odd: the *candidate*'s, or the primary's."""
        for index, stake in enumerate(_STAKES):
            won = (self.wealth[index] + 1.0) * (1.0 + stake if candidate else 1.0 - stake)
            self.wealth[index] = min(won, _WEALTH_MAX)

    @property
    def is_won(self) -> bool:
        """Whether chance does not explain it."""
        return sum(self.wealth) >= CHANCE_LOOKS_MIN * len(_STAKES)


@dataclass(slots=True)
class Streak:
    """What was won by betting that a candidate differs in half of all requests, begun anew at each.

    The primary differs from itself seldom, in a *share* of its requests at most. While the
    candidate does not either, `is_won` comes true after `CHANCE_LOOKS_MIN` requests or more on
    average. One that always differs is known after a few: seven where the primary does in 2 %.

    Source: as of `Wager`.
    """

    wealth: float = 0.0
    at: int = 0  # the number of the last request in which it differed

    def add(self, number: int, share: float) -> None:
        """In request *number*, counted from 1, it differs; in none since the last such it did."""
        kept = 0.5 / (1.0 - share)
        faded = kept ** (number - self.at - 1)
        quiet = self.wealth * faded + kept * (1.0 - faded) / (1.0 - kept)
        self.wealth, self.at = min(_WEALTH_MAX, (quiet + 1.0) * 0.5 / share), number

    @property
    def is_won(self) -> bool:
        """Whether chance does not explain it."""
        return self.wealth >= CHANCE_LOOKS_MIN
