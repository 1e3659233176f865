"""One request's instance: chosen, counted while it is under way, told of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.discovery.core.members import Member, Outcome
from moreton.registry.discovery.follower import Follower
from moreton.registry.discovery.outcomes import outcome_of

# The instances that the attempts of the request under way went to. Shared by the tasks of a hedge.
_tried_var: ContextVar[set[InstanceId] | None] = ContextVar("moreton_tried", default=None)


class Choice:
    """The instance for one request, which counts as under way until this has ended.

    Leave it as a context to end it: an error within tells of the instance what it can. One that is
    dropped ends by itself and tells nothing.
    """

    __slots__ = ("_follower", "_member", "instance")

    def __init__(self, follower: Follower, member: Member) -> None:
        self.instance: Instance = member.instance
        self._follower = follower
        self._member: Member | None = member

    def ended(self, outcome: Outcome) -> None:
        """The request ended; the first word counts."""
        member, self._member = self._member, None
        if member is not None:
            self._follower.ended(member, outcome)

    def failed(self, error: BaseException) -> None:
        """The request ended with *error*."""
        self.ended(outcome_of(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.ended(outcome_of(error))

    def __del__(self) -> None:
        # May run anywhere, also in a thread that holds the follower's lock.
        if self._member is not None:
            self._follower.drop(self._member)


@contextlib.contextmanager
def one_request() -> Iterator[None]:
    """Within: attempts of one request, each of which goes elsewhere if there is an elsewhere."""
    token = _tried_var.set(set())
    try:
        yield
    finally:
        _tried_var.reset(token)


def tried() -> set[InstanceId]:
    """Where the attempts of the request under way went so far, to be added to."""
    found = _tried_var.get()
    return set() if found is None else found
