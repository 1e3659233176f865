"""The index of each thing that can be watched: of a service, of a key, of a prefix of keys.

An index is the store's revision of the last change of that thing alone, so that a change of one
wakes nobody who waits for another. It is never 0 and never goes back, over a restart neither: a
thing that is asked for first, or again after it was forgotten, has the newest revision there is.
An index that another node gave out, and that is in the store's past, is taken over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

TopicT = TypeVar("TopicT", bound=Hashable)

# As many as the store may hold keys; the one that was not asked for or changed for longest goes.
TOPICS_MAX = 100_000


class Indexes(Generic[TopicT]):
    """Indexes of topics; everything up to *newest* has been seen."""

    def __init__(self, newest: int = 1, *, topics_max: int = TOPICS_MAX) -> None:
        self.newest = max(newest, 1)
        self._topics_max = topics_max
        self._known: OrderedDict[TopicT, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, topic: TopicT) -> bool:
        return topic in self._known

    def of(self, topic: TopicT) -> int:
        """The index of *topic*, remembered from now on."""
        found = self._known.get(topic)
        if found is None:
            self._remember(topic, self.newest)
            return self.newest
        return found

    def touch(self, topic: TopicT, revision: int) -> None:
        """*topic* changed, appeared or went away at *revision*."""
        self._remember(topic, max(revision, self._known.get(topic, 1)))

    def advance(self, revision: int) -> None:
        """Everything up to *revision* has been seen."""
        self.newest = max(self.newest, revision)

    def adopt(self, topic: TopicT, index: int, *, newest: int) -> None:
        """A client was given *index* for *topic* by some node: go on from there.

        The store is at *newest*; what is beyond it is not believed.
        """
        if self.of(topic) < index <= newest:
            self.touch(topic, index)

    def _remember(self, topic: TopicT, index: int) -> None:
        self._known[topic] = index
        self._known.move_to_end(topic)
        if len(self._known) > self._topics_max:
            self._known.popitem(last=False)
