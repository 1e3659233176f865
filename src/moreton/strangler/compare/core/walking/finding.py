"""Collects differences that no rule explains."""

from __future__ import annotations

from typing import Any

from moreton.strangler.compare.core.differences import (
    ABSENT,
    DIFFERENCES_MAX,
    Difference,
    Kind,
    shown,
)
from moreton.strangler.compare.core.paths import PATH_CHARS_MAX
from moreton.strangler.compare.core.rules.rulebook import Rulebook

# What is asked of rules and then found the same does not count as found; this bounds the asking.
_ASKED_MAX = 10_000


class Findings:
    """The first `DIFFERENCES_MAX` differences, in the order in which they were found."""

    def __init__(self, rules: Rulebook) -> None:
        self.rules = rules
        self.found: list[Difference] = []
        self.full = False  # whether enough was found: nobody needs to look further
        self._asked = 0

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
        self.found.append(difference)
        if len(self.found) >= DIFFERENCES_MAX:
            self.full = True
