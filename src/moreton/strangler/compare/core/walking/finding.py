"""Collects differences that no rule explains."""

from __future__ import annotations

from typing import Any

from moreton.strangler.compare.core.differences import (
    ABSENT,
    DIFFERENCES_MAX,
    Difference,
    Kind,
    Shape,
    shown,
)
from moreton.strangler.compare.core.paths import PATH_CHARS_MAX
from moreton.strangler.compare.core.rules.rulebook import Rulebook

# What is asked of rules and then found the same does not count as found; this bounds the asking.
_ASKED_MAX = 10_000


class Findings:
    """The first `DIFFERENCES_MAX` differences, in the order in which they were found.

    Beyond those, only the first of each further field and kind: noise in every row of a long table
    does not hide what is wrong below it.
    """

    def __init__(self, rules: Rulebook) -> None:
        self.rules = rules
        self.found: list[Difference] = []
        self.full = False  # whether enough was found: nobody needs to look further
        self._asked = 0
        self._shapes: set[Shape] | None = None

    def add(self, path: str, kind: Kind, primary: Any, candidate: Any) -> None:
        """The two differ at *path*; `None` is a value like others, see `missing` and `surplus`."""
        if self._counts(path, kind, primary, candidate):
            self._keep(Difference(path[:PATH_CHARS_MAX], kind, shown(primary), shown(candidate)))

    def missing(self, path: str, primary: Any) -> None:
        """The candidate has not what the primary has at *path*."""
        if self._counts(path, Kind.MISSING, primary, None):
            self._keep(Difference(path[:PATH_CHARS_MAX], Kind.MISSING, shown(primary), ABSENT))

    def surplus(self, path: str, candidate: Any) -> None:
        """The candidate alone has something at *path*."""
        if self._counts(path, Kind.EXTRA, None, candidate):
            self._keep(Difference(path[:PATH_CHARS_MAX], Kind.EXTRA, ABSENT, shown(candidate)))

    def _counts(self, path: str, kind: Kind, primary: Any, candidate: Any) -> bool:
        self._asked += 1
        if self._asked >= _ASKED_MAX:
            self.full = True
        return not self.full and not self.rules.same(
            path[:PATH_CHARS_MAX], kind, primary, candidate
        )

    def _keep(self, difference: Difference) -> None:
        if len(self.found) >= DIFFERENCES_MAX and not self._is_first(difference):
            return
        self.found.append(difference)
        if len(self.found) >= 2 * DIFFERENCES_MAX:
            self.full = True

    def _is_first(self, difference: Difference) -> bool:
        """Whether none of its field and kind was found before."""
        if self._shapes is None:
            self._shapes = {each.shape("") for each in self.found}
        shape = difference.shape("")
        new = shape not in self._shapes
        self._shapes.add(shape)
        return new
