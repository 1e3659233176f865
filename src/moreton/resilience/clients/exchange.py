"""What all HTTP clients share: which answers are failures, which requests may be sent again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from math import inf
from typing import Any

from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.resilience.context import (
    attempt_var,
    criticality_var,
    deadline_var,
    idempotent_var,
)
from moreton.resilience.core import headers as fields
from moreton.resilience.core.retrying import IDEMPOTENT_METHODS
from moreton.resilience.policy import Policy
from moreton.resilience.timing import SYSTEM

# Overload, and a gateway that could not reach the service. A 500 is an answer of the application.
FAILURES = frozenset({429, 502, 503, 504})
DESTINATIONS_MAX = 1000
IDEMPOTENCY_KEY = "idempotency-key"
Policies = Policy | Callable[[str], Policy]


class AnswerFailed(MoretonError):
    """An answer counts as a failure by its status; the client hands it on if it is the last one.

    *response* is the library's own; *headers* are its header fields.
    """

    code = "answer-failed"
    retry = RetryAdvice.AFTER

    def __init__(self, response: Any, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"the destination answered {status}: it could not serve the request")
        self.response = response
        self.status = status
        self.headers = headers
        self.moreton_final = _proxy_retried(headers)


class Destinations:
    """The policy of every destination, by `scheme://host:port`.

    *policies* is one policy for all (and all share what it learns), or makes one for a destination
    that is new. Beyond `DESTINATIONS_MAX` the oldest is forgotten.
    """

    def __init__(self, policies: Policies, failures: Iterable[int] = FAILURES) -> None:
        if not isinstance(policies, Policy) and not callable(policies):
            raise TypeError(f"{policies!r} is neither a Policy nor a function that makes one")
        self._policies = policies
        self.failures = frozenset(failures)
        self._made: dict[str, Policy] = {}

    def __getitem__(self, destination: str) -> Policy:
        """The policy of *destination*."""
        if isinstance(self._policies, Policy):
            return self._policies
        found = self._made.get(destination)
        if found is None:
            found = self._policies(destination)
            while len(self._made) >= DESTINATIONS_MAX:
                self._made.pop(next(iter(self._made)))
            self._made[destination] = found
        return found

    def check(self, response: Any, status: int, headers: Mapping[str, str]) -> None:
        """Raise `AnswerFailed` when *status* is a failure."""
        if status in self.failures:
            raise AnswerFailed(response, status, headers)


def may_repeat(method: str, headers: Mapping[str, str], *, said: bool = False) -> bool:
    """Whether a request may be sent again: by its method, a key, or because the caller *said* so.

    Source: RFC 9110, section 9.2.2; the IETF Idempotency-Key draft.
    """
    return said or method.upper() in IDEMPOTENT_METHODS or IDEMPOTENCY_KEY in headers


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


def add_fields(headers: MutableMapping[str, str]) -> None:
    """Write the deadline, the criticality and the attempt into *headers*."""
    left = seconds_left()
    if left is not None:
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


def _proxy_retried(headers: Mapping[str, str]) -> bool:
    """Whether a proxy in between tried again already, and so the SDK must not."""
    for name in (fields.GATEWAY_ATTEMPTS, fields.ENVOY_ATTEMPT):
        count = headers.get(name, "")
        if count.isascii() and count.isdigit() and count not in {"0", "1"}:
            return True
    return False
