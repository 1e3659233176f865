"""What is to be compared of live traffic: a route, two services, and what may be done to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class SideEffects(StrEnum):
    """What is known of a route's requests besides their answers."""

    NONE = "none"  # somebody declares that they change nothing
    RECORDED = "recorded"  # the application says it with each answer, and is believed
    UNKNOWN = "unknown"  # nothing: they are not copied


# RFC 9110, section 9.2.1 calls them safe. That is no evidence, and others need to be named.
SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Live:
    """How requests of *route* are compared: *candidate*'s answers with *primary*'s.

    *share* of them in [0, 1] is sampled while no migration says otherwise. Of those, for the share
    *ask_twice* the primary is asked again to learn what is noise; with 0 never, whatever differs.
    Each question has *timeout*. What has one of the cookies *apart* is of a session that the
    candidate cannot know, and is not copied. With *dry_run*, requests that write are run dry by the
    candidate, and what it would have written is compared.
    """

    route: str
    primary: str
    candidate: str
    share: float = 0.0
    side_effects: SideEffects = SideEffects.UNKNOWN
    methods: frozenset[str] = SAFE_METHODS
    ask_twice: float = 0.1
    timeout: timedelta = timedelta(seconds=5)
    rules: tuple[tuple[str, str, str], ...] = ()  # path, treatment, because: as written
    redact: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()
    dry_run: bool = False

    @property
    def may_copy(self) -> bool:
        """Whether anything is copied at all."""
        return self.side_effects is not SideEffects.UNKNOWN


def only_other(services: Iterable[str], candidate: str) -> str:
    """The one of *services* that is not *candidate*; empty when there is none, or a choice."""
    others = [name for name in services if name != candidate]
    return others[0] if len(others) == 1 else ""
