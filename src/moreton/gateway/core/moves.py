"""How the requests of a route move to one of its services: who goes first, and who stays put."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any


class TraitKind(StrEnum):
    """By what users are told apart."""

    HEADER = "header"
    COOKIE = "cookie"
    HOST = "host"
    ADDRESS = "address"  # of the client


@dataclass(frozen=True, slots=True)
class Trait:
    """What a request has of its user: a header or a cookie called *name*, its host, its address."""

    kind: TraitKind
    name: str = ""

    def __post_init__(self) -> None:
        named = self.kind in {TraitKind.HEADER, TraitKind.COOKIE}
        if named is not bool(self.name):
            raise ValueError(f"a {self.kind} called {self.name!r}: name headers and cookies only")

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


OWN_COOKIE = Trait(TraitKind.COOKIE, "moreton_user")


@dataclass(frozen=True, slots=True)
class Cohort:
    """The users whose *trait* is one of *values*."""

    trait: Trait
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values or self.trait.kind is TraitKind.ADDRESS:
            raise ValueError(
                f"{self.trait} of {self.values}: give values of a header, cookie, host"
            )

    def __str__(self) -> str:
        return f"{self.trait} {', '.join(self.values)}"


@dataclass(frozen=True, slots=True)
class Move:
    """The requests of a route move to its destination *to*.

    Users of any of *cohorts* are there already, whatever the weights are. Of the others, what a
    user has of *sticky* decides by the weights where all requests of that user go, so that a higher
    weight takes more along and sends nobody back; with `None` each request is drawn anew. Who lacks
    it is told apart by `OWN_COOKIE`, which the gateway sets.

    Whom *to* does not begin to answer in *answer_within* is answered 504; `None`: waits for ever.
    """

    to: str
    cohorts: tuple[Cohort, ...] = ()
    sticky: Trait | None = OWN_COOKIE
    answer_within: timedelta | None = None

    @property
    def gives_cookies(self) -> bool:
        """Whether users who lack what they are told apart by get a cookie."""
        return self.sticky is not None and self.sticky.kind is not TraitKind.ADDRESS


def move_document(move: Move) -> dict[str, Any]:
    """*move* as JSON values."""
    within = move.answer_within
    return {
        "to": move.to,
        "cohorts": [cohort_document(each) for each in move.cohorts],
        "sticky": None if move.sticky is None else trait_document(move.sticky),
        **({} if within is None else {"answer_within": within.total_seconds()}),
    }


def move_from(document: Mapping[str, Any]) -> Move:
    """What `move_document` made. Raises `KeyError`, `TypeError`, `ValueError`."""
    sticky, within = document["sticky"], document.get("answer_within")
    return Move(
        str(document["to"]),
        tuple(cohort_from(each) for each in document["cohorts"]),
        None if sticky is None else trait_from(sticky),
        None if within is None else timedelta(seconds=within),
    )


def cohort_document(cohort: Cohort) -> dict[str, Any]:
    """*cohort* as JSON values."""
    return {"trait": trait_document(cohort.trait), "values": list(cohort.values)}


def cohort_from(document: Mapping[str, Any]) -> Cohort:
    """What `cohort_document` made. Raises as `move_from`."""
    return Cohort(trait_from(document["trait"]), tuple(map(str, document["values"])))


def trait_document(trait: Trait) -> dict[str, str]:
    """*trait* as JSON values."""
    return {"kind": trait.kind.value, "name": trait.name}


def trait_from(document: Mapping[str, Any]) -> Trait:
    """What `trait_document` made. Raises as `move_from`."""
    return Trait(TraitKind(document["kind"]), str(document["name"]))
