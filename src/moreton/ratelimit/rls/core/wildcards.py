"""Patterns with `*`, each of which stands for any characters, or none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wildcard:
    """*parts* are what stands between the stars; at least two."""

    parts: tuple[str, ...]

    @classmethod
    def of(cls, pattern: str) -> Wildcard:
        """The pattern that *pattern* writes."""
        return cls(tuple(pattern.split("*")))

    def matches(self, text: str) -> bool:
        """Whether all of *text* is as the pattern says; O(length of *text*) for each part."""
        first, *middle, last = self.parts
        if len(text) < len(first) + len(last) or not text.startswith(first):
            return False
        if not text.endswith(last):
            return False
        place, end = len(first), len(text) - len(last)
        for part in middle:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True
