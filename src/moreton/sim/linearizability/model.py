"""What an object does when only one operation happens at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, Protocol, TypeAlias

from moreton.sim.linearizability.history import Call

# From a state to the one after it; `None` when the call cannot have gone so in that state.
Effect: TypeAlias = Callable[[Any], Hashable | None]


class Role(Enum):
    """What a call may do to the state, whatever that is: how the search may move it about."""

    READS = "reads"  # leaves every state as it is
    SETS = "sets"  # fits every state, and leaves one that does not depend on it
    CHANGES = "changes"  # anything else


class Model(Protocol):
    """The rules of one object. States are hashable, equal when alike, and never `None`."""

    name: str
    ops: tuple[str, ...]

    def initial(self) -> Hashable:
        """The state before anything happened."""
        ...

    def part(self, call: Call) -> str:
        """Which independent object *call* is about: parts are judged each for itself."""
        ...

    def effect(self, call: Call) -> Effect:
        """What *call* does; without a known outcome, whatever it was told.

        Raises `ValueError` when the call is none of this model.
        """
        ...

    def role(self, call: Call) -> Role:
        """What *call* may do; `CHANGES` is always right, another lets the search be faster."""
        ...

    def show_call(self, call: Call) -> str:
        """*call* for people: `write 3`, `read, saw 3`."""
        ...

    def show_state(self, state: Any) -> str:
        """*state* for people, after "then ": `it holds 3`."""
        ...
