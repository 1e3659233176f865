"""What the clients share: what goes out with an attempt, which requests may be sent again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from math import inf
from threading import Lock

from moreton.resilience.context import (
    attempt_var,
    criticality_var,
    deadline_var,
    idempotent_var,
)
from moreton.resilience.core import headers as fields
from moreton.resilience.core.retrying import IDEMPOTENT_METHODS
from moreton.resilience.errors import DeadlineExceeded
from moreton.resilience.layers.layer import Layer
from moreton.resilience.policy import Policy
from moreton.resilience.timing import SYSTEM

DESTINATIONS_MAX = 1000
IDEMPOTENCY_KEY = "idempotency-key"
# The clock, select() and a library's own timers agree to within this.
CLOCK_SECONDS = 0.005
Policies = Policy | Callable[[str], Policy]


class Destinations:
    """The policy of every destination, by `scheme://host:port`.

    *policies* is one policy for all (and all share what it learns), or makes one for a destination
    that is new. Beyond `DESTINATIONS_MAX` the oldest is forgotten.
    """

    def __init__(self, policies: Policies) -> None:
        given: object = policies
        # A layer alone is callable, too: it decorates.
        if not isinstance(given, Policy) and (isinstance(given, Layer) or not callable(given)):
            raise TypeError(
                f"policies is {policies!r}: give a Policy(…), or a function that makes one for a "
                "destination"
            )
        self._policies = policies
        self._made: dict[str, Policy] = {}
        self._lock = Lock()

    def __getitem__(self, destination: str) -> Policy:
        """The policy of *destination*."""
        if isinstance(self._policies, Policy):
            return self._policies
        found = self._made.get(destination)
        return found if found is not None else self._make(self._policies, destination)

    def _make(self, make: Callable[[str], Policy], destination: str) -> Policy:
        with self._lock:
            found = self._made.get(destination)
            if found is None:
                found = make(destination)
                if not isinstance(found, Policy):
                    raise TypeError(
                        f"the policy made for {destination} is {found!r}: return a Policy"
                    )
                while len(self._made) >= DESTINATIONS_MAX:
                    del self._made[next(iter(self._made))]
                self._made[destination] = found
            return found


def may_repeat(method: str, headers: Mapping[str, str], *, said: bool = False) -> bool:
    """Whether a request may be sent again: by its method, a key, or because the caller *said* so.

    Source: RFC 9110, section 9.2.2; the IETF Idempotency-Key draft.
    """
    if said or idempotent_var.get():
        return True
    return method.upper() in IDEMPOTENT_METHODS or IDEMPOTENCY_KEY in headers


@contextlib.contextmanager
def repeatable(*, may: bool) -> Iterator[None]:
    """Within: whether the request under way *may* be sent again."""
    token = idempotent_var.set(may)
    try:
        yield
    finally:
        idempotent_var.reset(token)


def seconds_left() -> float | None:
    """How long the attempt under way may take; `None` when nothing limits it."""
    deadline = deadline_var.get()
    return None if deadline == inf else max(0.001, deadline - SYSTEM.now())


def is_time_over() -> bool:
    """Whether the time of the attempt under way is over, or as good as."""
    return deadline_var.get() - SYSTEM.now() <= CLOCK_SECONDS


def check_time() -> None:
    """Raise `DeadlineExceeded` when there is no time left to send anything."""
    if deadline_var.get() <= SYSTEM.now():
        raise DeadlineExceeded("the deadline of the request has passed: it was not sent")


def late() -> DeadlineExceeded:
    """The error for an attempt that the library gave up at the limit that we had set."""
    return DeadlineExceeded(
        "no answer within the time limit of the attempt: whether the request took effect is "
        "unknown; raise the limit if the destination needs longer"
    )


def add_fields(headers: MutableMapping[str, str]) -> None:
    """Write the deadline, the criticality and the attempt into *headers*."""
    left = seconds_left()
    if left is None:
        headers.pop(fields.TIMEOUT, None)  # of an attempt before
    else:
        headers[fields.TIMEOUT] = fields.format_timeout(left)
    headers[fields.ATTEMPT] = str(attempt_var.get())
    headers[fields.CRITICALITY] = criticality_var.get().value


def shorter(timeout: float | None) -> float | None:
    """*timeout*, or what is left for the attempt if that is less."""
    left = seconds_left()
    if timeout is None or left is None:
        return left if timeout is None else timeout
    return min(timeout, left)


def give_up(error: BaseException) -> None:
    """Mark *error*: the body of its request was sent and cannot be sent again."""
    vars(error)["moreton_final"] = True  # read by `sent.asked_of`
    error.add_note("the request's body was consumed: it cannot be sent again")
