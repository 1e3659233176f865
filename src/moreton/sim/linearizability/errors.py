"""Why a history could not be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moreton.kernel.errors import MoretonError


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with one line of a history; lines count from 1."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class Unreadable(ValueError):
    """What is wrong with one event or call; whoever reads it knows the line."""


class HistoryNotValid(MoretonError):
    """A history that is not one; *faults* holds what is wrong, line by line."""

    code = "history-not-valid"

    def __init__(self, faults: Sequence[LineFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


class HistoryUndecided(MoretonError):
    """So many orders are possible that the search was given up."""

    code = "history-undecided"

    def __init__(self, *, key: str, tried: int) -> None:
        self.key = key
        self.tried = tried
        super().__init__(
            f"{tried} ways to order the operations on {key} were tried and neither one that holds "
            "nor proof that none does was found: the history is not judged; record a shorter one, "
            "with fewer clients, or with fewer operations of unknown outcome"
        )
