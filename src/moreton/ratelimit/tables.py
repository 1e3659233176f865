"""The states of keys in this process: a bounded number of them, and none that is full again.

With each key that is new two others are looked at, and forgotten if all of their quota is there
again: who is forgotten so loses and gains nothing. When `keys_max` keys are in debt at once, the
one of eight that owes least is forgotten, and begins with a full quota when it comes back.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Generic, TypeVar

from moreton.ratelimit.core.limit import Cells, Limit

KEYS_MAX = 100_000
_LOOK_AT = 2
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
            self._make_room(now)
            found = self.states.setdefault(key, self._fresh())
            self._order.append(key)
        return found

    def forget(self, key: str) -> None:
        """*key* begins anew."""
        # It keeps its place in the order, so that it is not there twice.
        if key in self.states:
            self.states[key] = self._fresh()

    def cells(self, state: StateT) -> Cells:
        """What the limit reads and writes; of some tables a copy."""
        raise NotImplementedError

    def _fresh(self) -> StateT:
        raise NotImplementedError

    def _make_room(self, now: int) -> None:
        for _ in range(min(_LOOK_AT, len(self._order))):
            self._look_at_oldest(now)
        if len(self.states) < self.keys_max:
            return
        owing = [self._look_at_oldest(now) for _ in range(min(_CHOOSE_FROM, len(self._order)))]
        if len(self.states) < self.keys_max:
            return
        _, least = min(owing)
        # Those that were looked at are the last in the order now.
        for _ in owing:
            self._order.pop()
        self._order.extend(key for _, key in owing if key != least)
        self.states.pop(least)
        self.evicted += 1

    def _look_at_oldest(self, now: int) -> tuple[int, str]:
        """Forget the key that was looked at longest ago, or put it to the end with what it owes."""
        key = self._order.popleft()
        state = self.states[key]
        owes = self.limit.full_in(self.cells(state), now)
        if owes or not self.drop(key, state):
            self._order.append(key)
            return owes, key
        return 0, key

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

    def cells(self, state: int) -> Cells:
        """A copy."""
        return [state]

    def _fresh(self) -> int:
        return 0


class RowTable(KeyTable["array[int]"]):
    """For any other limit: a row of numbers a key, changed in place."""

    __slots__ = ()

    def cells(self, state: array[int]) -> Cells:
        """The row itself."""
        return state

    def _fresh(self) -> array[int]:
        return array("q", bytes(8 * self.limit.width))
