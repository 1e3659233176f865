"""Rules by path, and what they say of a place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from moreton.strangler.compare.core.differences import Kind
from moreton.strangler.compare.core.paths import compile_pattern
from moreton.strangler.compare.core.rules.treatments import Sort, Treatment, parse_treatment

RULES_MAX = 1000
# Places are asked for again with the next answer; which there are is up to the answers.
_REMEMBERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Rule:
    """What is said of all places of *path*, and *because* of what."""

    path: str
    treatment: Treatment
    because: str = ""

    @classmethod
    def parse(cls, path: str, treatment: str, because: str = "") -> Rule:
        """A rule as it is written: see `compile_pattern` and `parse_treatment`."""
        compile_pattern(path)
        return cls(path, parse_treatment(treatment), because)


class Rulebook:
    """Which rules hold at a place; every one that does is asked, in the order they were given."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        if len(self.rules) > RULES_MAX:
            raise ValueError(f"{len(self.rules)} rules; at most {RULES_MAX}: write wider paths")
        self._compiled: Sequence[tuple[re.Pattern[str], Treatment]] = [
            (compile_pattern(rule.path), rule.treatment) for rule in self.rules
        ]
        self._sorts = [one for one in self._compiled if isinstance(one[1], Sort)]
        self._remembered: dict[str, tuple[Treatment, ...]] = {}

    def same(self, path: str, kind: Kind, primary: Any, candidate: Any) -> bool:
        """Whether a rule says that what differs at *path* does not."""
        known = self._remembered.get(path)
        for one in self._at(path) if known is None else known:
            if one.same(kind, primary, candidate):
                return True
        return False

    def sort(self, path: str) -> Sort | None:
        """How the items of the array at *path*, itself and not what is below, are arranged."""
        for pattern, treatment in self._sorts:
            found = pattern.match(path)
            if found is not None and found.end() == len(path) and isinstance(treatment, Sort):
                return treatment
        return None

    def _at(self, path: str) -> tuple[Treatment, ...]:
        known = tuple(one for pattern, one in self._compiled if pattern.match(path))
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[path] = known
        return known
