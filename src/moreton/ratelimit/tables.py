"""The states of keys in this process: a bounded number of them.

When another key needs room, one of which all of the quota is there again is forgotten: it loses and
gains nothing. When all of the eight that were looked at last owe something, the one that owes least
is forgotten, and begins with a full quota when it comes back.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Generic, TypeVar

from moreton.ratelimit.core.limit import Limit

KEYS_MAX = 100_000
_CHOOSE_FROM = 8
StateT = TypeVar("StateT")


class KeyTable(Generic[StateT]):
    """The state of each key for one limit, in `states`; for one thread at a time but for `drop`."""

    __slots__ = ("_order", "evicted", "keys_max", "limit", "states")

    def __init__(self, limit: Limit, keys_max: int) -> None:
        self.limit = limit
        self.keys_max = keys_max
        self.states: dict[str, StateT] = {}
        self.evicted = 0
        self._order: deque[str] = deque()

    def state(self, key: str, now: int) -> StateT:
        """The state of *key*, which is made when it is new."""
        found = self.states.get(key)
        if found is None:
            if type(key) is not str:
                raise TypeError(f"key is {key!r}: give a string")
            if len(self.states) >= self.keys_max:
                self._make_room(now)
            found = self.states.setdefault(key, self._fresh())
            self._order.append(key)
        return found

    def forget(self, key: str) -> None:
        """*key* begins anew."""
        # It keeps its place in the order, so that it is not there twice.
        if key in self.states:
            self.states[key] = self._fresh()

    def _owes(self, state: StateT, now: int) -> int:
        """How long until all of the quota is there again."""
        raise NotImplementedError

    def _fresh(self) -> StateT:
        raise NotImplementedError

    def _make_room(self, now: int) -> None:
        owing = []
        for _ in range(min(_CHOOSE_FROM, len(self._order))):
            key = self._order.popleft()
            state = self.states[key]
            owes = self._owes(state, now)
            if not owes and self.drop(key, state):
                break
            owing.append((owes, key))
        else:
            least = min(owing)
            owing.remove(least)
            self.states.pop(least[1])
            self.evicted += 1
        # Looked at again after all others.
        self._order.extend(key for _, key in owing)

    def drop(self, key: str, state: StateT) -> bool:
        """Forget *key* if its state is still *state*."""
        states = self.states
        # No call and no jump back in between: no other thread runs (see `gates`).
        if states[key] is state:
            del states[key]
            return True
        return False


class MomentTable(KeyTable[int]):
    """For a `Gcra`: one number a key."""

    __slots__ = ()

    def _owes(self, state: int, now: int) -> int:
        return max(0, state - now)

    def _fresh(self) -> int:
        return 0


class RowTable(KeyTable["array[int]"]):
    """For any other limit: a row of numbers a key, changed in place."""

    __slots__ = ()

    def _owes(self, state: array[int], now: int) -> int:
        return self.limit.full_in(state, now)

    def _fresh(self) -> array[int]:
        return array("q", bytes(8 * self.limit.width))
