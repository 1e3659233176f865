"""What a request's descriptors meet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.windows import FixedWindow
from moreton.ratelimit.rls.core.answers import Descriptor
from moreton.ratelimit.rls.core.tree import SECONDS, Entry, Match, Node, Threshold, find

_KEY_CHARS_MAX = 1024
_DIGEST_BYTES = 24
_KNOWN_MAX = 10_000


@dataclass(slots=True)
class Met:
    """A threshold that a request meets, and what it costs there; *place* is that of its ask.

    So much as *reserve* has to be left beside the cost. What is given back was *taken* then. When
    the request ends that is *reported*.
    """

    match: Match
    cost: int
    reserve: int = 0
    taken: int = 0
    reported: bool = False
    place: int | None = None
    key: str = ""  # what its count is known by, once that was found


class Meetings:
    """What the descriptors of *domains* meet; those that come often are found at once."""

    def __init__(self, domains: Mapping[str, Node]) -> None:
        self.domains = domains
        self._known: dict[tuple[str, tuple[Entry, ...]], tuple[Match, str] | None] = {}

    def meet(self, domain: str, root: Node, descriptor: Descriptor, cost: int) -> Met | None:
        """What *descriptor* of *domain* meets; it costs *cost* unless it says more."""
        price = cost if descriptor.cost is None else descriptor.cost
        if descriptor.override is not None:
            return Met(_overridden(domain, descriptor), price)
        question = domain, descriptor.entries
        try:
            found = self._known[question]
        except KeyError:
            match = find(domain, root, descriptor.entries)
            found = None if match is None else (match, key_of(domain, match))
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[question] = found
        return None if found is None else Met(found[0], price, key=found[1])


def _overridden(domain: str, descriptor: Descriptor) -> Match:
    """The limit that the asker brought, in place of any that is configured."""
    brought = descriptor.override
    assert brought is not None
    entries = descriptor.entries
    told = ".".join(f"{key}_{value}" if value else key for key, value in entries)
    seconds = SECONDS[brought.unit] * brought.multiplier
    limit = None
    if brought.count:
        limit = FixedWindow(Rate(brought.count, timedelta(seconds=seconds)), name=told)
    threshold = Threshold(limit, brought.count, brought.unit, brought.multiplier)
    return Match(threshold, f"{domain}.{told}", (*entries, ("", str(seconds))))


def key_of(domain: str, match: Match) -> str:
    """What the count of *match* is known by; other entries have another key."""
    parts = [domain, *(part for entry in match.counted for part in entry)]
    key = "".join(f"{len(part)}:{part}" for part in parts)
    if len(key) <= _KEY_CHARS_MAX:
        return key
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return digest.hexdigest()
