"""What ASGI and WSGI share: the context of a request, from its header fields, and refusals."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from math import inf

from moreton.kernel.arguments import check_kind
from moreton.resilience.context import (
    Inbound,
    attempt_var,
    criticality_var,
    deadline_var,
    inbound_var,
    remaining,
)
from moreton.resilience.core import headers as fields
from moreton.resilience.errors import DeadlineExceeded, Refused
from moreton.resilience.layers.layer import Gate
from moreton.resilience.timing import SYSTEM

PROBLEM = "application/problem+json"
RETRY_AFTER_SECONDS = 1


@contextlib.contextmanager
def inbound(headers: Mapping[str, str]) -> Iterator[Inbound]:
    """Within: the deadline, criticality and attempt that *headers* (lower-case names) tell."""
    timeout = fields.read_timeout(headers)
    found = Inbound()
    deadline = deadline_var.set(inf if timeout is None else SYSTEM.now() + timeout)
    criticality = criticality_var.set(fields.read_criticality(headers))
    attempt = attempt_var.set(1)
    before = inbound_var.set(found)
    try:
        yield found
    finally:
        inbound_var.reset(before)
        attempt_var.reset(attempt)
        criticality_var.reset(criticality)
        deadline_var.reset(deadline)


def check_deadline() -> None:
    """Raise `DeadlineExceeded` when the request came too late to be served."""
    left = remaining()
    if left is not None and not left:
        raise DeadlineExceeded("the deadline of the request has passed: it was not served")


def check_gate(shedding: Gate | None) -> Gate | None:
    """*shedding*, if it is a gate; raises `TypeError`."""
    if shedding is not None:
        check_kind("shedding", shedding, Gate, "an AdaptiveLimit, a Bulkhead, or nothing")
    return shedding


def refusal(error: Refused) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, header fields and body of the answer to a request that was not let in."""
    asked = error.retry_in
    seconds = RETRY_AFTER_SECONDS if asked is None else max(1, round(asked.total_seconds()))
    body = json.dumps(
        {
            "type": "about:blank",
            "title": "Service overloaded",
            "status": 503,
            "detail": str(error),
            "code": error.code,
            "retry_after": seconds,
        }
    ).encode()
    return 503, [*_sizes(body), ("retry-after", str(seconds))], body


def too_late() -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, header fields and body of the answer to a request whose time was over."""
    body = json.dumps(
        {
            "type": "about:blank",
            "title": "Deadline exceeded",
            "status": 504,
            "detail": "the caller's deadline passed before the request could be served",
            "code": "deadline-exceeded",
        }
    ).encode()
    return 504, _sizes(body), body


def is_never(status: int, found: Inbound) -> bool:
    """Whether an answer has to say that its caller must not retry."""
    return status >= 500 and found.exhausted


def _sizes(body: bytes) -> list[tuple[str, str]]:
    return [("content-type", PROBLEM), ("content-length", str(len(body)))]
